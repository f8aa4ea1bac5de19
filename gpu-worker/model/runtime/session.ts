/** Sessions, bindings and tensors of ONNX Runtime as typed objects over our own memory. Knows no model. */
import { ELEMENT_BYTES, ELEMENT_TYPES } from './ort-api.ts';
import type { ElementType } from './ort-api.ts';
import { appendCudaProvider } from './cuda-provider.ts';
import type { CudaSettings } from './cuda-provider.ts';
import { ortLibrary } from './ort-library.ts';
import type { Handle, OrtLibrary } from './ort-library.ts';

const OPTIMIZE_ALL = 99;
const LOG_ERRORS_ONLY = 3;
const NO_GRAPH = -1;
const SHARED_ARENA_KEY = 'session.use_env_allocators';
const EXTERNAL_FOLDER_KEY = 'session.model_external_initializers_file_folder_path';

/** A tensor over memory somebody else owns and keeps mapped while the tensor lives. */
export interface TensorView {
  readonly pointer: bigint;
  readonly type: ElementType;
  readonly shape: readonly number[];
  /** Number of the GPU whose memory it is; by default the host's. */
  readonly device?: number;
}

export class Tensor {
  readonly handle: Handle;
  readonly #ort: OrtLibrary = ortLibrary();

  constructor(view: TensorView) {
    const elements = view.shape.reduce((product, size) => product * size, 1);
    const dimensions = BigInt64Array.from(view.shape, BigInt);
    const bytes = elements * ELEMENT_BYTES[view.type];
    const type = ELEMENT_TYPES[view.type];
    const rank = view.shape.length;
    this.handle = this.#ort.create(
      'CreateTensorWithDataAsOrtValue',
      view.device === undefined ? this.#ort.cpuMemory : this.#ort.cudaMemory(view.device),
      view.pointer,
      bytes,
      dimensions,
      rank,
      type,
    );
  }

  release(): void {
    this.#ort.release('ReleaseValue', this.handle);
  }
}

/** A tensor whose view changes now and then; equal views in a row are one tensor. */
export class ChangingTensor {
  #current: { readonly view: TensorView; readonly tensor: Tensor } | null = null;

  /** Valid until a call with another view; bindings that have it keep it. */
  at(view: TensorView): Tensor {
    if (this.#current !== null && sameView(this.#current.view, view)) return this.#current.tensor;
    this.release();
    const tensor = new Tensor(view);
    this.#current = { view, tensor };
    return tensor;
  }

  release(): void {
    this.#current?.tensor.release();
    this.#current = null;
  }
}

export interface SessionOptions {
  /** Threads of its own (1 = only the caller's), or the pool that `OrtLibrary.shareThreads` made. */
  readonly threads: number | 'shared';
  /** Name → memory of the graph's external initializers, if any; must stay mapped as long as the session lives. */
  readonly initializers?: ReadonlyMap<string, TensorView>;
  /** Entries of ONNX Runtime's session configuration beside those that every session has. */
  readonly config?: Readonly<Record<string, string>>;
  /** By default the CPU runs it. Initializers in the GPU's own memory are used where they lie. */
  readonly cuda?: CudaSettings;
}

export class Session {
  readonly #ort: OrtLibrary = ortLibrary();
  readonly #handle: Handle;
  readonly #initializers: readonly Tensor[];

  constructor(model: Uint8Array, options: SessionOptions) {
    const ort = this.#ort;
    // The CUDA provider logs to the environment while it is added.
    const env = ort.env;
    const settings = ort.create('CreateSessionOptions');
    const initializers: Tensor[] = [];
    try {
      ort.call('SetSessionLogSeverityLevel', settings, LOG_ERRORS_ONLY);
      ort.call('SetSessionGraphOptimizationLevel', settings, OPTIMIZE_ALL);
      if (options.threads === 'shared') ort.call('DisablePerSessionThreads', settings);
      else ort.call('SetIntraOpNumThreads', settings, options.threads);
      ort.call('SetInterOpNumThreads', settings, 1);
      ort.call('AddSessionConfigEntry', settings, EXTERNAL_FOLDER_KEY, ort.folder);
      // One arena of host memory for all: sessions that run by turns need it once. On a GPU each has its own.
      ort.call('AddSessionConfigEntry', settings, SHARED_ARENA_KEY, '1');
      for (const entry of Object.entries(options.config ?? {})) ort.call('AddSessionConfigEntry', settings, ...entry);
      // A pattern is kept for every combination of input sizes ever seen: without bound where sizes vary.
      ort.call('DisableMemPattern', settings);
      if (options.cuda !== undefined) appendCudaProvider(ort, settings, options.cuda);
      for (const [name, view] of options.initializers ?? []) {
        const tensor = new Tensor(view);
        initializers.push(tensor);
        ort.call('AddInitializer', settings, name, tensor.handle);
      }
      this.#handle = ort.create('CreateSessionFromArray', env, model, model.byteLength, settings);
      this.#initializers = initializers;
    } catch (error) {
      for (const tensor of initializers) tensor.release();
      throw error;
    } finally {
      ort.release('ReleaseSessionOptions', settings);
    }
  }

  bind(): Binding {
    return new Binding(this.#handle);
  }

  /** After every binding of it is released. */
  release(): void {
    this.#ort.release('ReleaseSession', this.#handle);
    for (const tensor of this.#initializers) tensor.release();
  }
}

/** How to run on a GPU: `graph` numbers a CUDA graph that is captured at its first run; null = kernel by kernel. */
export class RunOptions {
  readonly handle: Handle;
  readonly #ort: OrtLibrary = ortLibrary();

  /** Runs return as soon as their work is queued on the session's stream. */
  constructor(graph: number | null) {
    this.handle = this.#ort.create('CreateRunOptions');
    this.#ort.call('AddRunConfigEntry', this.handle, 'disable_synchronize_execution_providers', '1');
    this.#ort.call('AddRunConfigEntry', this.handle, 'gpu_graph_id', String(graph ?? NO_GRAPH));
  }

  release(): void {
    this.#ort.release('ReleaseRunOptions', this.handle);
  }
}

/** Inputs and outputs of one kind of run; single-flight. */
export class Binding {
  readonly #ort: OrtLibrary = ortLibrary();
  readonly #session: Handle;
  readonly #handle: Handle;
  readonly #bound = new Map<string, { readonly view: TensorView; readonly tensor: Tensor }>();
  readonly #lent = new Map<string, Tensor>();

  constructor(session: Handle) {
    this.#session = session;
    this.#handle = this.#ort.create('CreateIoBinding', session);
  }

  /** Makes and owns a tensor for the view, unless the same one is bound. */
  input(name: string, view: TensorView): void {
    this.#set('BindInput', name, view);
  }

  output(name: string, view: TensorView): void {
    this.#set('BindOutput', name, view);
  }

  /** Binds a tensor that stays the caller's: many times cheaper than making one, and free while it is the same. */
  lendInput(name: string, tensor: Tensor): void {
    this.#lend('BindInput', name, tensor);
  }

  lendOutput(name: string, tensor: Tensor): void {
    this.#lend('BindOutput', name, tensor);
  }

  /** Blocks until the outputs are written, unless the options say otherwise. */
  run(options: RunOptions | null = null): void {
    this.#ort.call('RunWithBinding', this.#session, options?.handle ?? null, this.#handle);
  }

  release(): void {
    this.#ort.release('ReleaseIoBinding', this.#handle);
    for (const { tensor } of this.#bound.values()) tensor.release();
    this.#bound.clear();
  }

  #lend(kind: 'BindInput' | 'BindOutput', name: string, tensor: Tensor): void {
    if (this.#lent.get(name) === tensor) return;
    this.#ort.call(kind, this.#handle, name, tensor.handle);
    this.#lent.set(name, tensor);
  }

  #set(kind: 'BindInput' | 'BindOutput', name: string, view: TensorView): void {
    const before = this.#bound.get(name);
    if (before !== undefined && sameView(before.view, view)) return;
    const tensor = new Tensor(view);
    this.#ort.call(kind, this.#handle, name, tensor.handle);
    before?.tensor.release();
    this.#bound.set(name, { view, tensor });
  }
}

function sameView(a: TensorView, b: TensorView): boolean {
  return (
    a.pointer === b.pointer &&
    a.device === b.device &&
    a.type === b.type &&
    a.shape.length === b.shape.length &&
    a.shape.every((size, axis) => size === b.shape[axis])
  );
}
