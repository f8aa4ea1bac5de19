/** Which weights a graph wants and where each will lie in one stretch of memory. Reads and allocates nothing. */
import { rowBytes, schemeFor } from './quantize/scheme.ts';
import type { Quantization, Scheme } from './quantize/scheme.ts';
import { ELEMENT_BYTES } from './runtime/ort-api.ts';
import type { ElementType } from './runtime/ort-api.ts';
import type { TensorView } from './runtime/session.ts';
import type { QuantizedMatrix, Stack, WeightStore } from './weight-store.ts';

/** Of every tensor's beginning; also what vector instructions like best. */
const ALIGNMENT = 64;

/** A tensor's place, from the beginning of the memory. */
export interface PlannedTensor {
  readonly name: string;
  readonly type: ElementType;
  readonly shape: readonly number[];
  readonly offset: number;
  readonly bytes: number;
}

/** Structured-cloneable. */
export interface PlannedStack {
  readonly stack: Stack;
  /** Null = float32. */
  readonly scheme: Scheme | null;
  /** Values or codes [rows, …]. */
  readonly main: PlannedTensor;
  readonly scales: PlannedTensor | null;
  readonly zeroPoints: PlannedTensor | null;
}

export interface WeightLayout {
  readonly stacks: readonly PlannedStack[];
  readonly bytes: number;
}

/** Stands in for the weights while graphs are made for the first time; its views point nowhere. */
export class WeightPlan implements WeightStore {
  readonly quantization: Quantization;
  readonly #scheme: Scheme | null;
  readonly #stacks = new Map<string, PlannedStack>();
  #end = 0;

  constructor(scheme: Scheme | null) {
    this.#scheme = scheme;
    this.quantization = scheme === null ? 'none' : `int${scheme.bits}`;
  }

  get layout(): WeightLayout {
    return { stacks: [...this.#stacks.values()], bytes: this.#end };
  }

  float32(stack: Stack): TensorView {
    const { main } = this.#plan(`${stack.name} float32`, () => {
      const shape = stack.columns === 1 ? [rowsOf(stack)] : [rowsOf(stack), stack.columns];
      return { stack, scheme: null, main: this.#place(stack.name, 'float32', shape), scales: null, zeroPoints: null };
    });
    return { ...main, pointer: 0n };
  }

  quantized(stack: Stack): QuantizedMatrix {
    const whole = this.#scheme;
    if (whole === null) throw new Error(`${stack.name}: asked for quantized weights of a model that has none`);
    const planned = this.#plan(`${stack.name} quantized`, () => {
      const scheme = schemeFor(whole, stack.name, stack.columns);
      const [rows, blocks] = [rowsOf(stack), stack.columns / scheme.blockSize];
      const bytes = rowBytes(scheme, stack.columns);
      const { name } = stack;
      return {
        ...{ stack, scheme },
        main: this.#place(`${name}.codes`, 'uint8', [rows, blocks, bytes.codes / blocks]),
        scales: this.#place(`${name}.scales`, 'float32', [rows, blocks]),
        zeroPoints: scheme.symmetric ? null : this.#place(`${name}.zero_points`, 'uint8', [rows, bytes.zeroPoints]),
      };
    });
    return matrixOf(planned, 0n);
  }

  constant(_name: string, shape: readonly number[]): TensorView {
    return { pointer: 0n, type: 'float32', shape };
  }

  #plan(key: string, make: () => PlannedStack): PlannedStack {
    const planned = this.#stacks.get(key) ?? make();
    this.#stacks.set(key, planned);
    return planned;
  }

  #place(name: string, type: ElementType, shape: readonly number[]): PlannedTensor {
    const offset = Math.ceil(this.#end / ALIGNMENT) * ALIGNMENT;
    const bytes = shape.reduce((product, size) => product * size, ELEMENT_BYTES[type]);
    this.#end = offset + bytes;
    return { name, type, shape, offset, bytes };
  }
}

export const rowsOf = (stack: Stack): number => stack.parts.reduce((sum, part) => sum + part.rows, 0);

export function viewOf({ type, shape, offset }: PlannedTensor, base: bigint): TensorView {
  return { pointer: base + BigInt(offset), type, shape };
}

/** `base`: where the memory of the layout begins. Throws for a stack that is not quantized. */
export function matrixOf({ scheme, main, scales, zeroPoints, stack }: PlannedStack, base: bigint): QuantizedMatrix {
  if (scheme === null || scales === null) throw new Error(`${stack.name} is not quantized`);
  return {
    packed: viewOf(main, base),
    scales: viewOf(scales, base),
    zeroPoints: zeroPoints === null ? null : viewOf(zeroPoints, base),
    bits: scheme.bits,
    blockSize: scheme.blockSize,
  };
}
