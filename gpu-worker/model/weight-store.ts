/** Copies weights from their source into mapped memory in the form the graph wants, packing and quantizing, each once. Knows no operators. */
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
  /** Added to every value of a float32 tensor: Gemma's norms store their weights less 1. */
  readonly plus?: number;
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
  readonly #views = new Map<string, TensorView>();
  readonly #matrices = new Map<string, QuantizedMatrix>();
  #read = 0;

  constructor(source: WeightSource, quantization: Quantization, onProgress: (bytes: number) => void = () => {}) {
    this.#source = source;
    this.quantization = quantization;
    this.#onProgress = onProgress;
  }

  /** Of everything made so far. */
  get bytes(): number {
    return this.#memories.reduce((sum, memory) => sum + memory.bytes, 0);
  }

  /** [rows, columns] float32, or [rows] when `columns` is 1. */
  float32(stack: Stack): TensorView {
    return once(this.#views, stack.name, () => this.#float32(stack));
  }

  quantized(stack: Stack): QuantizedMatrix {
    return once(this.#matrices, stack.name, () => this.#quantized(stack));
  }

  /** Computed constants, such as the rotary tables. */
  constant(name: string, shape: readonly number[], values: () => Float32Array): TensorView {
    return once(this.#views, name, () => {
      const memory = this.#allocate(shape.reduce((product, size) => product * size, 4));
      new Float32Array(memory.buffer).set(values());
      return { pointer: memory.pointer, type: 'float32', shape };
    });
  }

  /** After every session that uses its tensors is released. */
  free(): void {
    for (const memory of this.#memories) memory.free();
  }

  #float32(stack: Stack): TensorView {
    const rows = totalRows(stack);
    const memory = this.#allocate(rows * stack.columns * 4);
    const target = new Float32Array(memory.buffer);
    this.#forEachChunk(stack, (first, count) =>
      target.subarray(first * stack.columns, (first + count) * stack.columns),
    );
    const { plus } = stack;
    if (plus !== undefined) target.forEach((value, i) => (target[i] = value + plus));
    return { pointer: memory.pointer, type: 'float32', shape: stack.columns === 1 ? [rows] : [rows, stack.columns] };
  }

  #quantized(stack: Stack): QuantizedMatrix {
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
        this.#source.readRows(tensor, { rows, columns: stack.columns, first: row }, values);
        use(values, base + row, count);
        this.#read += values.byteLength;
        this.#onProgress(this.#read);
      }
      base += rows;
    }
  }
}

function once<T>(made: Map<string, T>, name: string, make: () => T): T {
  const value = made.get(name) ?? make();
  made.set(name, value);
  return value;
}

const totalRows = (stack: Stack): number => stack.parts.reduce((sum, part) => sum + part.rows, 0);
const chunkRows = (columns: number): number => Math.max(1, Math.floor(CHUNK_VALUES / columns));
