/** Copies weights from their source into mapped memory in the form the graph wants, packing and quantizing. Knows no operators. */
import { BLOCK_SIZE, quantizeInt4, quantizeInt8 } from './quantize.ts';
import type { Quantization } from './quantize.ts';
import { Memory } from './runtime/memory.ts';
import type { TensorView } from './runtime/session.ts';
import type { WeightSource } from './weights.ts';

/** Values converted at a time: bounds the memory beside the result. */
const CHUNK_VALUES = 1 << 20;

/** Tensors stacked by rows into one matrix. */
export interface Stack {
  /** Name of the result. */
  readonly name: string;
  readonly parts: readonly { readonly tensor: string; readonly rows: number }[];
  readonly columns: number;
}

/** A matrix as MatMulNBits and GatherBlockQuantized take it; `bits` 4 or 8. */
export interface QuantizedMatrix {
  readonly packed: TensorView;
  readonly scales: TensorView;
  readonly bits: 4 | 8;
}

export class WeightStore {
  readonly quantization: Quantization;
  readonly #source: WeightSource;
  readonly #onProgress: (bytes: number) => void;
  readonly #memories: Memory[] = [];
  #bytes = 0;

  constructor(source: WeightSource, quantization: Quantization, onProgress: (bytes: number) => void = () => {}) {
    this.#source = source;
    this.quantization = quantization;
    this.#onProgress = onProgress;
  }

  /** [rows, columns] float32, or [rows] when `columns` is 1. */
  float32(stack: Stack): TensorView {
    const rows = totalRows(stack);
    const memory = this.#allocate(rows * stack.columns * 4);
    const target = new Float32Array(memory.buffer);
    this.#forEachChunk(stack, (first, count) =>
      target.subarray(first * stack.columns, (first + count) * stack.columns),
    );
    return { pointer: memory.pointer, type: 'float32', shape: stack.columns === 1 ? [rows] : [rows, stack.columns] };
  }

  quantized(stack: Stack): QuantizedMatrix {
    const { columns } = stack;
    if (columns % BLOCK_SIZE !== 0) {
      throw new RangeError(
        `${stack.name} has ${columns} columns, quantization needs a multiple of ${BLOCK_SIZE}: use none`,
      );
    }
    const bits = this.quantization === 'int8' ? 8 : 4;
    const quantize = bits === 8 ? quantizeInt8 : quantizeInt4;
    const rows = totalRows(stack);
    const blocks = columns / BLOCK_SIZE;
    const rowBytes = (columns * bits) / 8;
    const packed = this.#allocate(rows * rowBytes);
    const scales = this.#allocate(rows * blocks * 4);
    const packedBytes = new Uint8Array(packed.buffer);
    const scaleValues = new Float32Array(scales.buffer);
    const scratch = new Float32Array(chunkRows(columns) * columns);
    this.#forEachChunk(
      stack,
      (_, count) => scratch.subarray(0, count * columns),
      (values, first, count) =>
        quantize(values, {
          packed: packedBytes.subarray(first * rowBytes, (first + count) * rowBytes),
          scales: scaleValues.subarray(first * blocks, (first + count) * blocks),
        }),
    );
    return {
      packed: { pointer: packed.pointer, type: 'uint8', shape: [rows, blocks, (BLOCK_SIZE * bits) / 8] },
      scales: { pointer: scales.pointer, type: 'float32', shape: [rows, blocks] },
      bits,
    };
  }

  /** Computed constants, such as the rotary tables. */
  constant(values: Float32Array, shape: readonly number[]): TensorView {
    const memory = this.#allocate(values.byteLength);
    new Float32Array(memory.buffer).set(values);
    return { pointer: memory.pointer, type: 'float32', shape };
  }

  /** After every session that uses its tensors is released. */
  free(): void {
    for (const memory of this.#memories) memory.free();
  }

  #allocate(bytes: number): Memory {
    const memory = Memory.allocate(bytes);
    this.#memories.push(memory);
    return memory;
  }

  /** Reads into what `into` gives for rows [first, first + count) of the whole stack, then hands it to `use`. */
  #forEachChunk(
    stack: Stack,
    into: (first: number, count: number) => Float32Array,
    use: (values: Float32Array, first: number, count: number) => void = () => {},
  ): void {
    const step = chunkRows(stack.columns);
    let base = 0;
    for (const { tensor, rows } of stack.parts) {
      for (let row = 0; row < rows; row += step) {
        const count = Math.min(step, rows - row);
        const values = into(base + row, count);
        this.#source.readRows(tensor, { rows, columns: stack.columns }, row, values);
        use(values, base + row, count);
        this.#bytes += values.byteLength;
        this.#onProgress(this.#bytes);
      }
      base += rows;
    }
  }
}

const totalRows = (stack: Stack): number => stack.parts.reduce((sum, part) => sum + part.rows, 0);
const chunkRows = (columns: number): number => Math.max(1, Math.floor(CHUNK_VALUES / columns));
