/** Reads weights into GPU memory in the graph's number format, each once, through page-locked buffers. Knows no operators. */
import { ELEMENT_BYTES } from '../runtime/ort-api.ts';
import type { Cuda, CudaEvent, DeviceMemory, PinnedMemory } from '../runtime/cudart.ts';
import type { TensorView } from '../runtime/session.ts';
import { Memory } from '../runtime/memory.ts';
import { rowsOf } from '../weight-plan.ts';
import type { QuantizedMatrix, Stack } from '../weight-store.ts';
import type { WeightSource } from '../weights.ts';
import { KV_KINDS } from './paged-graph.ts';
import type { FloatType, KvKind, PagedWeights } from './paged-graph.ts';
import { transpose } from './transpose.ts';

/** Values converted at a time. */
const CHUNK_VALUES = 1 << 22;
const BUFFERS = 2;
const HALF_BYTES = 2;

/** Matrices that are rounded already, in host memory, scales float32; null for those that keep 16 bits. */
export type QuantizedSource = (stack: Stack) => QuantizedMatrix | null;

export interface DeviceWeightsOptions {
  readonly type: FloatType;
  readonly layers: number;
  /** Of the scale of one layer's keys, or values. */
  readonly kvScaleShape: readonly number[];
  readonly quantized: QuantizedSource;
  /** Called with the bytes in GPU memory so far. */
  readonly onProgress: (bytes: number) => void;
}

export class DeviceWeights implements PagedWeights {
  /** In GPU memory so far. */
  bytes = 0;
  readonly #cuda: Cuda;
  readonly #source: WeightSource;
  readonly #options: DeviceWeightsOptions;
  readonly #views = new Map<string, TensorView>();
  readonly #buffers: readonly { readonly memory: PinnedMemory; readonly copied: CudaEvent }[];
  readonly #scales: DeviceMemory;
  #turn = 0;

  constructor(cuda: Cuda, source: WeightSource, options: DeviceWeightsOptions) {
    this.#cuda = cuda;
    this.#source = source;
    this.#options = options;
    this.#buffers = Array.from({ length: BUFFERS }, () => {
      return { memory: cuda.allocatePinned(CHUNK_VALUES * HALF_BYTES), copied: cuda.event() };
    });
    const scales = KV_KINDS.length * options.layers * this.#kvScaleSize;
    this.#scales = cuda.allocate(scales * ELEMENT_BYTES.float32);
    this.setKvScales(new Float32Array(scales).fill(1));
  }

  matrix(stack: Stack): TensorView {
    const rows = rowsOf(stack);
    const shape = stack.columns === 1 ? [rows] : [rows, stack.columns];
    return this.#once(stack.name, { type: this.#options.type, shape }, (pointer) => this.#upload(stack, pointer));
  }

  transposed(stack: Stack): TensorView {
    const [rows, columns] = [rowsOf(stack), stack.columns];
    const { type } = this.#options;
    return this.#once(`${stack.name}.transposed`, { type, shape: [columns, rows] }, (target) => {
      const scratch = this.#cuda.allocate(rows * columns * HALF_BYTES);
      this.#upload(stack, scratch.pointer);
      transpose(this.#cuda, { type, rows, columns, source: scratch.pointer, target });
      this.#cuda.free(scratch);
    });
  }

  quantized(stack: Stack): QuantizedMatrix | null {
    const host = this.#options.quantized(stack);
    if (host === null) return null;
    const { packed, scales, zeroPoints } = host;
    const bytes = (name: string, view: TensorView): TensorView => {
      const size = view.shape.reduce((product, each) => product * each, 1);
      const fill = (pointer: bigint): void => this.#cuda.toDevice(pointer, view.pointer, size);
      return this.#once(`${stack.name}.${name}`, { type: 'uint8', shape: view.shape }, fill);
    };
    const scaleBytes = scales.shape.reduce((product, size) => product * size, ELEMENT_BYTES.float32);
    const scaleValues = () => new Float32Array(Memory.borrow(scales.pointer, scaleBytes));
    return {
      ...host,
      packed: bytes('codes', packed),
      scales: this.constant(`${stack.name}.scales`, scales.shape, scaleValues),
      zeroPoints: zeroPoints === null ? null : bytes('zero_points', zeroPoints),
    };
  }

  constant(name: string, shape: readonly number[], values: () => Float32Array): TensorView {
    return this.#once(name, { type: this.#options.type, shape }, (pointer) => {
      const all = values();
      for (let first = 0; first < all.length; first += CHUNK_VALUES) {
        const chunk = all.subarray(first, first + CHUNK_VALUES);
        this.#send(pointer + BigInt(first * HALF_BYTES), chunk.length, (halves) =>
          round(chunk, halves, this.#options.type),
        );
      }
    });
  }

  kvScale(layer: number, kind: KvKind): TensorView {
    const place = KV_KINDS.length * layer + KV_KINDS.indexOf(kind);
    const pointer = this.#scales.pointer + BigInt(place * this.#kvScaleSize * ELEMENT_BYTES.float32);
    return { pointer, type: 'float32', shape: this.#options.kvScaleShape, device: this.#cuda.device };
  }

  /** Of keys and values of layer 0, of layer 1, …; sessions that use them need not be made anew. */
  setKvScales(scales: Float32Array): void {
    this.#send(this.#scales.pointer, scales.length * 2, (halves) =>
      new Float32Array(halves.buffer, halves.byteOffset, scales.length).set(scales),
    );
    this.#cuda.synchronize();
  }

  get #kvScaleSize(): number {
    return this.#options.kvScaleShape.reduce((product, size) => product * size, 1);
  }

  #once(name: string, form: Pick<TensorView, 'type' | 'shape'>, fill: (pointer: bigint) => void): TensorView {
    const known = this.#views.get(name);
    if (known !== undefined) return known;
    const memory = this.#cuda.allocate(form.shape.reduce((product, size) => product * size, ELEMENT_BYTES[form.type]));
    fill(memory.pointer);
    const view = { ...form, pointer: memory.pointer, device: this.#cuda.device };
    this.#views.set(name, view);
    this.bytes += memory.bytes;
    this.#options.onProgress(this.bytes);
    return view;
  }

  #upload({ parts, columns, plus = 0 }: Stack, pointer: bigint): void {
    const { type } = this.#options;
    const step = Math.max(1, Math.floor(CHUNK_VALUES / columns));
    const scratch = new Float32Array(step * columns);
    let at = pointer;
    for (const { tensor, rows } of parts) {
      for (let first = 0; first < rows; first += step) {
        const values = Math.min(step, rows - first) * columns;
        const part = { rows, columns, first };
        this.#send(at, values, (halves) => {
          if (plus === 0 && this.#source.readHalves?.(tensor, { ...part, type }, halves) === true) return;
          const floats = scratch.subarray(0, values);
          this.#source.readRows(tensor, part, floats);
          if (plus !== 0) for (let i = 0; i < values; i++) floats[i] = (floats[i] ?? 0) + plus;
          round(floats, halves, type);
        });
        at += BigInt(values * HALF_BYTES);
      }
    }
  }

  #send(target: bigint, halves: number, write: (buffer: Uint16Array) => void): void {
    const buffer = this.#buffers[this.#turn++ % BUFFERS];
    if (buffer === undefined) throw new RangeError('no buffer to send from');
    buffer.copied.wait();
    write(new Uint16Array(buffer.memory.buffer, 0, halves));
    this.#cuda.toDevice(target, buffer.memory.pointer, halves * HALF_BYTES);
    buffer.copied.record();
  }
}

/** float32 → 16 bits, to the nearest; what is too large for float16 becomes infinite. */
export function round(values: Float32Array, target: Uint16Array, type: FloatType): void {
  if (type === 'float16') {
    new Float16Array(target.buffer, target.byteOffset, values.length).set(values);
    return;
  }
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < bits.length; i++) {
    const word = bits[i] ?? 0;
    // Half of what is cut off, and one less where the last kept bit is even: ties go to even.
    target[i] = (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  }
}
