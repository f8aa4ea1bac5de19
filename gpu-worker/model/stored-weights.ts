/** Weights of a layout in memory, ready for sessions. Knows not how they came there. */
import { Memory } from './runtime/memory.ts';
import type { Quantization } from './quantize/scheme.ts';
import type { TensorView } from './runtime/session.ts';
import { matrixOf, viewOf } from './weight-plan.ts';
import type { PlannedStack, WeightLayout } from './weight-plan.ts';
import type { QuantizedMatrix, Stack, WeightStore } from './weight-store.ts';

export interface StoredWeightsParts {
  readonly layout: WeightLayout;
  readonly quantization: Quantization;
  /** Equal where source, scheme and tensors are. */
  readonly identity: string;
  readonly memory: Memory;
  /** Where the layout begins in it. */
  readonly start: number;
  /** A file lies behind the memory: pages given back come again when they are read. */
  readonly fromFile: boolean;
}

/** ONNX Runtime's copy of quantized weights holds sums of blocks too: 1.24 of ours at blocks of 32, less at larger ones. */
const PACKED_COPY = 1.25;

export class StoredWeights implements WeightStore {
  readonly quantization: Quantization;
  readonly identity: string;
  readonly #parts: StoredWeightsParts;
  readonly #base: bigint;
  readonly #stacks = new Map<string, PlannedStack>();
  readonly #constants = new Map<string, { readonly memory: Memory; readonly view: TensorView }>();

  constructor(parts: StoredWeightsParts) {
    this.#parts = parts;
    this.quantization = parts.quantization;
    this.identity = parts.identity;
    this.#base = parts.memory.pointer + BigInt(parts.start);
    for (const planned of parts.layout.stacks) {
      this.#stacks.set(`${planned.stack.name} ${planned.scheme === null ? 'float32' : 'quantized'}`, planned);
    }
  }

  /** Of the weights themselves. */
  get bytes(): number {
    return this.#parts.layout.bytes;
  }

  /**
   * What they hold on to once sessions have them: ONNX Runtime keeps a copy in the order that its kernels read, beside
   * which ours stays unless a file lies behind it.
   */
  get residentBytes(): number {
    const copy = this.quantization === 'none' ? 1 : PACKED_COPY;
    return this.bytes * (this.#parts.fromFile ? copy : copy + 1);
  }

  float32(stack: Stack): TensorView {
    return viewOf(this.#planned(`${stack.name} float32`).main, this.#base);
  }

  quantized(stack: Stack): QuantizedMatrix {
    return matrixOf(this.#planned(`${stack.name} quantized`), this.#base);
  }

  constant(name: string, shape: readonly number[], values: () => Float32Array): TensorView {
    const known = this.#constants.get(name);
    if (known !== undefined) return known.view;
    const memory = Memory.allocate(shape.reduce((product, size) => product * size, 4));
    new Float32Array(memory.buffer).set(values());
    const view = { pointer: memory.pointer, type: 'float32', shape } as const;
    this.#constants.set(name, { memory, view });
    return view;
  }

  /** After sessions have made their copies: gives back what comes again from the file when it is read. */
  settle(): void {
    if (this.#parts.fromFile) this.#parts.memory.discard(0, this.#parts.memory.bytes);
    Memory.trim();
  }

  /** After every session that uses its tensors is released. */
  free(): void {
    this.#parts.memory.free();
    for (const { memory } of this.#constants.values()) memory.free();
  }

  #planned(key: string): PlannedStack {
    const planned = this.#stacks.get(key);
    if (planned === undefined) throw new Error(`${key} is not in the layout`);
    return planned;
  }
}
