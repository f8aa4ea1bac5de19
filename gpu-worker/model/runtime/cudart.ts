/** The CUDA runtime through koffi: memory, copies, streams and events of one GPU. Knows no tensors. */
import koffi from 'koffi';

const LIBRARY = 'libcudart.so.13';
/** Of driver 580. */
const LEAST_DRIVER_VERSION = 13_000;
const OK = 0;
const NON_BLOCKING_STREAM = 1;
const COMPUTE_CAPABILITY_MAJOR = 75;
const COMPUTE_CAPABILITY_MINOR = 76;
const PCI_BUS_ID_BYTES = 32;
const HOST_TO_DEVICE = 1;
const DEVICE_TO_HOST = 2;
const DEVICE_TO_DEVICE = 3;

const FUNCTIONS = {
  cudaGetErrorString: 'const char* cudaGetErrorString(int)',
  cudaDriverGetVersion: 'int cudaDriverGetVersion(_Out_ int*)',
  cudaGetDeviceCount: 'int cudaGetDeviceCount(_Out_ int*)',
  cudaSetDevice: 'int cudaSetDevice(int)',
  cudaDeviceGetPCIBusId: 'int cudaDeviceGetPCIBusId(void*, int, int)',
  cudaDeviceGetAttribute: 'int cudaDeviceGetAttribute(_Out_ int*, int, int)',
  cudaMemGetInfo: 'int cudaMemGetInfo(_Out_ size_t*, _Out_ size_t*)',
  cudaMalloc: 'int cudaMalloc(_Out_ void**, size_t)',
  cudaFree: 'int cudaFree(void*)',
  cudaHostAlloc: 'int cudaHostAlloc(_Out_ void**, size_t, uint)',
  cudaFreeHost: 'int cudaFreeHost(void*)',
  cudaMemcpyAsync: 'int cudaMemcpyAsync(void*, void*, size_t, int, void*)',
  cudaMemsetAsync: 'int cudaMemsetAsync(void*, int, size_t, void*)',
  cudaStreamCreateWithFlags: 'int cudaStreamCreateWithFlags(_Out_ void**, uint)',
  cudaStreamDestroy: 'int cudaStreamDestroy(void*)',
  cudaStreamSynchronize: 'int cudaStreamSynchronize(void*)',
  cudaEventCreateWithFlags: 'int cudaEventCreateWithFlags(_Out_ void**, uint)',
  cudaEventDestroy: 'int cudaEventDestroy(void*)',
  cudaEventRecord: 'int cudaEventRecord(void*, void*)',
  cudaEventSynchronize: 'int cudaEventSynchronize(void*)',
  cudaEventElapsedTime: 'int cudaEventElapsedTime(_Out_ float*, void*, void*)',
} as const;
type FunctionName = keyof typeof FUNCTIONS;
type Argument = bigint | number | Uint8Array | [bigint | number | null];
type Functions = Readonly<Record<FunctionName, (...args: Argument[]) => unknown>>;

export class CudaError extends Error {
  override readonly name = 'CudaError';
}

/** Page-locked host memory: copies from and to it run beside the host. */
export interface PinnedMemory {
  readonly pointer: bigint;
  readonly buffer: ArrayBuffer;
}

export interface DeviceMemory {
  readonly pointer: bigint;
  readonly bytes: number;
}

let functions: Functions | undefined;
/** A collected handle would unload the library under its functions. */
let libraryHandle: ReturnType<typeof koffi.load> | undefined;

function load(): Functions {
  if (functions !== undefined) return functions;
  try {
    libraryHandle = koffi.load(LIBRARY);
  } catch (error) {
    throw new CudaError(`${LIBRARY} cannot be loaded: put CUDA 13's libraries on LD_LIBRARY_PATH`, { cause: error });
  }
  const library = libraryHandle;
  functions = Object.fromEntries(
    Object.entries(FUNCTIONS).map(([name, signature]) => [name, library.func(signature)]),
  ) as unknown as Functions;
  return functions;
}

function invoke(name: FunctionName, ...args: Argument[]): void {
  const code = load()[name](...args);
  if (code !== OK) throw new CudaError(`${name}: ${String(load().cudaGetErrorString(Number(code)))} (${String(code)})`);
}

function read<T extends bigint | number>(name: FunctionName, ...args: Argument[]): T {
  const out: [T | null] = [null];
  invoke(name, out, ...args);
  return out[0] as T;
}

/** Why CUDA sees no GPU here, in one line; null when it does. */
export function whyNoCuda(): string | null {
  try {
    const problem = driverProblem(read<number>('cudaDriverGetVersion'));
    if (problem !== null) return problem;
    return read<number>('cudaGetDeviceCount') > 0 ? null : 'the driver shows no GPU';
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** `version`: the newest CUDA that the driver speaks, as 13000 for 13.0; 0 = there is none. Null: it will do. */
export function driverProblem(version: number): string | null {
  if (version === 0) return 'no NVIDIA driver is loaded';
  if (version >= LEAST_DRIVER_VERSION) return null;
  const spoken = `${Math.floor(version / 1000)}.${Math.floor((version % 1000) / 10)}`;
  return `the NVIDIA driver speaks CUDA ${spoken}, 13.0 is needed: install driver 580 or newer`;
}

/** As 0000:3B:00.0, the name that the driver's other libraries know a GPU by. */
export function pciBusId(device: number): string {
  const text = Buffer.alloc(PCI_BUS_ID_BYTES);
  invoke('cudaDeviceGetPCIBusId', text, text.length, device);
  return text.toString('latin1', 0, text.indexOf(0));
}

/** One GPU and the stream that all work of this thread goes through, in order. */
export class Cuda {
  readonly device: number;
  readonly stream: bigint;
  readonly #allocations = new Set<bigint>();
  readonly #pinned = new Set<bigint>();

  constructor(device: number) {
    const count = read<number>('cudaGetDeviceCount');
    if (device >= count) {
      throw new CudaError(`--gpu (gpu) is ${device}, the driver shows ${count} GPUs: take 0 to ${count - 1}`);
    }
    invoke('cudaSetDevice', device);
    this.device = device;
    this.stream = read<bigint>('cudaStreamCreateWithFlags', NON_BLOCKING_STREAM);
  }

  /** As 9.0 for Hopper. */
  get computeCapability(): number {
    const attribute = (id: number): number => read<number>('cudaDeviceGetAttribute', id, this.device);
    return attribute(COMPUTE_CAPABILITY_MAJOR) + attribute(COMPUTE_CAPABILITY_MINOR) / 10;
  }

  /** Bytes. */
  memory(): { readonly free: number; readonly total: number } {
    const free: [number | null] = [null];
    const total: [number | null] = [null];
    invoke('cudaMemGetInfo', free, total);
    return { free: Number(free[0]), total: Number(total[0]) };
  }

  allocate(bytes: number): DeviceMemory {
    const pointer = read<bigint>('cudaMalloc', Math.max(1, bytes));
    this.#allocations.add(pointer);
    return { pointer, bytes };
  }

  free({ pointer }: DeviceMemory): void {
    if (this.#allocations.delete(pointer)) invoke('cudaFree', pointer);
  }

  allocatePinned(bytes: number): PinnedMemory {
    const out: [bigint | null] = [null];
    invoke('cudaHostAlloc', out, bytes, 0);
    const pointer = out[0] ?? 0n;
    this.#pinned.add(pointer);
    return { pointer, buffer: koffi.view(pointer, bytes) };
  }

  /** Copies and fills are queued; host memory is pinned and stays as it is until they are done. */
  toDevice(target: bigint, source: bigint, bytes: number): void {
    invoke('cudaMemcpyAsync', target, source, bytes, HOST_TO_DEVICE, this.stream);
  }

  toHost(target: bigint, source: bigint, bytes: number): void {
    invoke('cudaMemcpyAsync', target, source, bytes, DEVICE_TO_HOST, this.stream);
  }

  copy(target: bigint, source: bigint, bytes: number): void {
    invoke('cudaMemcpyAsync', target, source, bytes, DEVICE_TO_DEVICE, this.stream);
  }

  fill(target: bigint, byte: number, bytes: number): void {
    invoke('cudaMemsetAsync', target, byte, bytes, this.stream);
  }

  synchronize(): void {
    invoke('cudaStreamSynchronize', this.stream);
  }

  event(): CudaEvent {
    return new CudaEvent(this.stream);
  }

  /** Everything that was allocated and not freed. */
  release(): void {
    for (const pointer of this.#allocations) invoke('cudaFree', pointer);
    for (const pointer of this.#pinned) invoke('cudaFreeHost', pointer);
    this.#allocations.clear();
    this.#pinned.clear();
    invoke('cudaStreamDestroy', this.stream);
  }
}

/** A point in the stream's work. */
export class CudaEvent {
  readonly #handle: bigint = read<bigint>('cudaEventCreateWithFlags', 0);
  readonly #stream: bigint;

  constructor(stream: bigint) {
    this.#stream = stream;
  }

  record(): void {
    invoke('cudaEventRecord', this.#handle, this.#stream);
  }

  /** Blocks until the work before the last `record` is done. */
  wait(): void {
    invoke('cudaEventSynchronize', this.#handle);
  }

  /** Milliseconds on the GPU; both are done. */
  since(earlier: CudaEvent): number {
    return read<number>('cudaEventElapsedTime', earlier.#handle, this.#handle);
  }

  release(): void {
    invoke('cudaEventDestroy', this.#handle);
  }
}
