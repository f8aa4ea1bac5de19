/** Loads the ONNX Runtime library of the onnxruntime-node package once per thread and turns statuses into errors. Knows no sessions. */
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import koffi from 'koffi';
import { ORT_API_VERSION, ORT_FUNCTIONS, ORT_LIBRARY_FILE, ORT_VERSION_PATTERN } from './ort-api.ts';
import type { OrtFunctionName } from './ort-api.ts';

export type Handle = bigint;
type Argument = Handle | number | string | null | Uint8Array | BigInt64Array | [Handle | null] | string[];
type OrtFunction = (...args: Argument[]) => unknown;

const POINTER_BYTES = 8;
const ASYNC_STACK_BYTES = 8 * 1024 * 1024;
const LOG_ERRORS_ONLY = 3;
const DEVICE_ALLOCATOR = 0;
const ARENA_ALLOCATOR = 1;
const DEFAULT_MEMORY = 0;
/** A folder to load from instead, where the CUDA provider lies beside the core library. */
const FOLDER_VARIABLE = 'MILLRACE_ORT_DIR';

export class OrtError extends Error {
  override readonly name = 'OrtError';
}

export class OrtLibrary {
  readonly cpuMemory: Handle;
  readonly version: string;
  /** Where the library lies, beside the file that external initializers name. */
  readonly folder: string;
  readonly #functions: ReadonlyMap<OrtFunctionName, OrtFunction>;
  readonly #cudaMemory = new Map<number, Handle>();
  #env: Handle | null = null;

  constructor(folder: string, version: string, functions: ReadonlyMap<OrtFunctionName, OrtFunction>) {
    this.folder = folder;
    this.version = version;
    this.#functions = functions;
    this.cpuMemory = this.create('CreateMemoryInfo', 'Cpu', ARENA_ALLOCATOR, 0, DEFAULT_MEMORY);
  }

  /** The environment that every session needs. */
  get env(): Handle {
    return this.shareThreads(1);
  }

  /**
   * Makes the pool of threads that sessions share; the calling thread counts as one of them. A process has one such
   * pool: once it is there, `threads` changes nothing.
   */
  shareThreads(threads: number): Handle {
    if (this.#env !== null) return this.#env;
    const options = this.create('CreateThreadingOptions');
    try {
      this.call('SetGlobalIntraOpNumThreads', options, threads);
      this.call('SetGlobalInterOpNumThreads', options, 1);
      this.#env = this.create('CreateEnvWithGlobalThreadPools', LOG_ERRORS_ONLY, 'millrace', options);
      this.call('CreateAndRegisterAllocator', this.#env, this.cpuMemory, null);
      return this.#env;
    } finally {
      this.release('ReleaseThreadingOptions', options);
    }
  }

  /** Of one GPU, for tensors over its memory. */
  cudaMemory(device: number): Handle {
    let memory = this.#cudaMemory.get(device);
    if (memory === undefined) {
      memory = this.create('CreateMemoryInfo', 'Cuda', DEVICE_ALLOCATOR, device, DEFAULT_MEMORY);
      this.#cudaMemory.set(device, memory);
    }
    return memory;
  }

  /** Calls a function that returns a status. */
  call(name: OrtFunctionName, ...args: Argument[]): void {
    const status = this.#invoke(name, args);
    if (status === null || status === undefined) return;
    const message = String(this.#invoke('GetErrorMessage', [status as Handle]));
    this.#invoke('ReleaseStatus', [status as Handle]);
    throw new OrtError(`ONNX Runtime ${name}: ${message}`);
  }

  /** Calls a function whose last argument receives a new handle. */
  create(name: OrtFunctionName, ...args: Argument[]): Handle {
    const out: [Handle | null] = [null];
    this.call(name, ...args, out);
    if (out[0] === null) throw new OrtError(`ONNX Runtime ${name} returned no object`);
    return out[0];
  }

  release(name: OrtFunctionName, handle: Handle): void {
    this.#invoke(name, [handle]);
  }

  #invoke(name: OrtFunctionName, args: Argument[]): unknown {
    const call = this.#functions.get(name);
    if (call === undefined) throw new OrtError(`${name} is not bound`);
    return call(...args);
  }
}

let loaded: OrtLibrary | undefined;
/** Functions from `koffi.decode` do not hold their library: a collected handle would unload it under them. */
let libraryHandle: ReturnType<typeof koffi.load> | undefined;

export function ortLibrary(): OrtLibrary {
  loaded ??= load();
  return loaded;
}

function load(): OrtLibrary {
  if (process.env['ORT_DISABLE_TELEMETRY'] !== '1') {
    throw new OrtError(
      'ORT_DISABLE_TELEMETRY=1 must be in the environment before this process starts: ONNX Runtime sends telemetry otherwise',
    );
  }
  const folder = libraryFolder();
  // Stack sizes are fixed at the first load of any library in the process; a later change throws and is not needed.
  try {
    koffi.config({ async_stack_size: ASYNC_STACK_BYTES });
  } catch {
    // Already configured by another thread.
  }
  libraryHandle = koffi.load(join(folder, ORT_LIBRARY_FILE));
  const base: bigint = libraryHandle.func('void* OrtGetApiBase()')();
  const getApi = koffi.decode(koffi.decode(base, 0, 'void*'), koffi.proto('void* (uint32_t)'));
  const getVersion = koffi.decode(koffi.decode(base, POINTER_BYTES, 'void*'), koffi.proto('const char* ()'));
  const version = String(getVersion());
  if (!ORT_VERSION_PATTERN.test(version)) {
    const isGiven = givenFolder() !== null;
    const way = isGiven ? `name a folder with 1.30's in ${FOLDER_VARIABLE}` : 'run npm install in the project folder';
    throw new OrtError(`ONNX Runtime ${version} found in ${folder}, 1.30.x needed: ${way}`);
  }
  const api: bigint = getApi(ORT_API_VERSION);
  const functions = new Map<OrtFunctionName, OrtFunction>();
  for (const [name, [field, signature]] of Object.entries(ORT_FUNCTIONS)) {
    const pointer: bigint = koffi.decode(api, field * POINTER_BYTES, 'void*');
    functions.set(name as OrtFunctionName, koffi.decode(pointer, koffi.proto(signature)));
  }
  return new OrtLibrary(folder, version, functions);
}

function givenFolder(): string | null {
  const given = process.env[FOLDER_VARIABLE];
  return given === undefined || given === '' ? null : given;
}

function libraryFolder(): string {
  const given = givenFolder();
  if (given !== null) return given;
  const entry = createRequire(import.meta.url).resolve('onnxruntime-node/package.json');
  return join(dirname(entry), 'bin', 'napi-v6', process.platform, process.arch);
}
