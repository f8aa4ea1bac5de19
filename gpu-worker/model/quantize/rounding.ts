/**
 * Blockwise rounding of weight rows to the layout of ONNX Runtime's MatMulNBits, with the scales that lose least. Knows
 * no graph and no files.
 */
import type { Scheme } from './scheme.ts';

/**
 * Rows of values → `codes`, `scales` and `zeroPoints`, each row after row. A code q means (q − zero point) × scale, the
 * zero point being 2^(bits − 1) where there are none. Two 4-bit codes share a byte, the even column in the low half; 4-bit zero points
 * likewise, and every row of them begins a byte.
 */
export interface QuantizedRows {
  readonly codes: Uint8Array;
  /** [rows, blocks] */
  readonly scales: Float32Array;
  /** Empty when the scheme is symmetric. */
  readonly zeroPoints: Uint8Array;
}

/**
 * Grids tried for a block, as the code (less the zero point) that its largest value falls on. Beyond the grid's end of 8
 * the largest value is clipped so that the others are nearer. Of each the least-squares scale is taken, and that with the
 * least squared error wins.
 */
const REACHES_4_BIT = [8, 8.6, 7.5, 9.2, 7];
/** At 8 bits the choice changes the error by less than a hundredth: only the least-squares scale is worth its time. */
const REACHES_8_BIT = [128];
/** The same with zero points: shares of the range from the least to the largest value. */
const SHARES_4_BIT = [1, 0.94, 0.88, 0.82];
const SHARES_8_BIT = [1];

/** 1.5 × 2^52: adding and taking it away again rounds a small float64 to the nearest integer, faster than Math.round. */
const ROUND = 6_755_399_441_055_744;

/** `values`: whole rows of `columns`, a multiple of the block size. Values that are not finite are not looked for. */
export function quantizeRows(values: Float32Array, columns: number, on: { scheme: Scheme; target: QuantizedRows }) {
  const { scheme, target } = on;
  const { bits, blockSize, symmetric } = scheme;
  const blocks = columns / blockSize;
  const search = new BlockSearch(bits);
  const codes = new Uint8Array(blockSize);
  const zeroBytes = Math.ceil((blocks * bits) / 8);
  for (let start = 0, block = 0; start < values.length; start += blockSize, block++) {
    if (symmetric) search.symmetric(values, start, start + blockSize);
    else search.withZeroPoint(values, start, start + blockSize);
    search.encode(values, start, codes);
    target.scales[block] = search.scale;
    writeCodes(codes, bits, target.codes.subarray((start * bits) / 8));
    if (symmetric) continue;
    const [row, at] = [Math.floor(block / blocks), block % blocks];
    if (bits === 8) target.zeroPoints[block] = search.zero;
    else {
      const byte = row * zeroBytes + (at >> 1);
      target.zeroPoints[byte] = at % 2 === 0 ? search.zero : (target.zeroPoints[byte] ?? 0) | (search.zero << 4);
    }
  }
}

function writeCodes(codes: Uint8Array, bits: 4 | 8, target: Uint8Array): void {
  if (bits === 8) target.set(codes);
  else for (let i = 0; i < codes.length; i += 2) target[i >> 1] = (codes[i] ?? 0) | ((codes[i + 1] ?? 0) << 4);
}

/** The best grid found for one block. */
class BlockSearch {
  scale = 0;
  /** Code that stands for 0. */
  zero: number;
  readonly #top: number;
  readonly #middle: number;
  readonly #reaches: readonly number[];
  readonly #shares: readonly number[];
  /** Codes per unit. */
  #inverse = 0;
  /** Squared error that the best grid takes off the block's sum of squares. */
  #gain = 0;

  constructor(bits: 4 | 8) {
    this.#top = 2 ** bits - 1;
    this.#middle = 2 ** (bits - 1);
    this.zero = this.#middle;
    this.#reaches = bits === 4 ? REACHES_4_BIT : REACHES_8_BIT;
    this.#shares = bits === 4 ? SHARES_4_BIT : SHARES_8_BIT;
  }

  symmetric(values: Float32Array, start: number, end: number): void {
    this.#begin();
    let largest = 0;
    for (let i = start; i < end; i++) {
      const value = values[i] ?? 0;
      if (Math.abs(value) > Math.abs(largest)) largest = value;
    }
    if (largest === 0) return;
    // The grid has one step more below its zero than above: the largest value goes there, whatever its sign.
    for (const reach of this.#reaches) this.#try({ values, start, end }, -reach / largest, this.#middle);
  }

  withZeroPoint(values: Float32Array, start: number, end: number): void {
    this.#begin();
    let [least, largest] = [0, 0];
    for (let i = start; i < end; i++) {
      const value = values[i] ?? 0;
      if (value < least) least = value;
      if (value > largest) largest = value;
    }
    if (least === largest) return;
    for (const share of this.#shares) {
      const inverse = this.#top / (share * (largest - least));
      this.#try({ values, start, end }, inverse, Math.min(this.#top, Math.round(-share * least * inverse)));
    }
  }

  /** Codes of the values from `start` on, on the grid found last. */
  encode(values: Float32Array, start: number, codes: Uint8Array): void {
    const inverse = this.#inverse;
    const zero = this.zero;
    const least = -zero;
    const most = this.#top - zero;
    for (let i = 0; i < codes.length; i++) {
      codes[i] = Math.min(Math.max((values[start + i] ?? 0) * inverse, least), most) + ROUND - ROUND + zero;
    }
  }

  #begin(): void {
    [this.scale, this.zero, this.#inverse, this.#gain] = [0, this.#middle, 0, 0];
  }

  #try(block: { values: Float32Array; start: number; end: number }, inverse: number, zero: number): void {
    const { values, start, end } = block;
    const least = -zero;
    const most = this.#top - zero;
    let products = 0;
    let squares = 0;
    let moreProducts = 0;
    let moreSquares = 0;
    // Two at a time: their sums do not wait for each other.
    for (let i = start; i < end; i += 2) {
      const a = values[i] ?? 0;
      const b = values[i + 1] ?? 0;
      const stepsA = Math.min(Math.max(a * inverse, least), most) + ROUND - ROUND;
      const stepsB = Math.min(Math.max(b * inverse, least), most) + ROUND - ROUND;
      products += a * stepsA;
      squares += stepsA * stepsA;
      moreProducts += b * stepsB;
      moreSquares += stepsB * stepsB;
    }
    products += moreProducts;
    squares += moreSquares;
    // The error of the least-squares scale products ÷ squares is the sum of squares of the values less this.
    const gain = squares === 0 ? 0 : (products * products) / squares;
    if (gain <= this.#gain) return;
    this.#gain = gain;
    this.#inverse = inverse;
    this.scale = products / squares;
    this.zero = zero;
  }
}
