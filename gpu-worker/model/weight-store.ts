/** What graphs take their weights from. Knows no operators and no files. */
import type { Quantization } from './quantize/scheme.ts';
import type { TensorView } from './runtime/session.ts';

/** Tensors stacked by rows into one matrix. */
export interface Stack {
  /** Name of the result. */
  readonly name: string;
  readonly parts: readonly { readonly tensor: string; readonly rows: number }[];
  readonly columns: number;
  /** Added to every value of a float32 tensor: Gemma's norms store their weights less 1. */
  readonly plus?: number;
}

/** A matrix as MatMulNBits and GatherBlockQuantized take it. */
export interface QuantizedMatrix {
  /** uint8 [rows, blocks, block size × bits / 8] */
  readonly packed: TensorView;
  /** float32 [rows, blocks] */
  readonly scales: TensorView;
  /** uint8 [rows, blocks × bits / 8, rounded up]; null when symmetric. */
  readonly zeroPoints: TensorView | null;
  readonly bits: 4 | 8;
  readonly blockSize: number;
}

export interface WeightStore {
  readonly quantization: Quantization;
  /** [rows, columns] float32, or [rows] when `columns` is 1. */
  float32(stack: Stack): TensorView;
  quantized(stack: Stack): QuantizedMatrix;
  /** Computed constants, such as the rotary tables; equal names are one tensor. */
  constant(name: string, shape: readonly number[], values: () => Float32Array): TensorView;
}
