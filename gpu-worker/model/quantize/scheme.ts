/** How weights are rounded: bits, block size, zero points; and the sizes that follow. Pure. */

export type Quantization = 'none' | 'int8' | 'int4';
export const QUANTIZATIONS: readonly Quantization[] = ['none', 'int8', 'int4'];

export type BlockSize = 32 | 64 | 128;
export const BLOCK_SIZES: readonly BlockSize[] = [32, 64, 128];
export const DEFAULT_BLOCK_SIZE: BlockSize = 32;
/** Smallest that MatMulNBits takes. */
const LEAST_BLOCK_SIZE = 16;

/** Structured-cloneable. */
export interface Scheme {
  readonly bits: 4 | 8;
  /** Columns that share one scale. */
  readonly blockSize: number;
  /** Without zero points: every block's grid has its zero in the middle. */
  readonly symmetric: boolean;
}

export interface QuantizationOptions {
  readonly quantization: Quantization;
  /** By default 32. */
  readonly quantizationBlockSize?: BlockSize;
  /** By default true. */
  readonly quantizationSymmetric?: boolean;
}

/** Null: weights stay float32. */
export function schemeOf(options: QuantizationOptions): Scheme | null {
  const { quantization, quantizationBlockSize: blockSize = DEFAULT_BLOCK_SIZE } = options;
  if (quantization === 'none') return null;
  return { bits: quantization === 'int8' ? 8 : 4, blockSize, symmetric: options.quantizationSymmetric ?? true };
}

/** For fingerprints and tables: `none`, `int4 b128`, `int4 b32 zp`. */
export function schemeName(scheme: Scheme | null): string {
  return scheme === null ? 'none' : `int${scheme.bits} b${scheme.blockSize}${scheme.symmetric ? '' : ' zp'}`;
}

/**
 * The scheme for a matrix of so many columns: its block size is halved until blocks fill the rows. Throws when none
 * that the kernels take does.
 */
export function schemeFor(scheme: Scheme, name: string, columns: number): Scheme {
  let { blockSize } = scheme;
  while (columns % blockSize !== 0) blockSize /= 2;
  if (blockSize >= LEAST_BLOCK_SIZE) return { ...scheme, blockSize };
  throw new RangeError(
    `${name} has ${columns} columns, quantization needs a multiple of ${LEAST_BLOCK_SIZE}: use --quantization none`,
  );
}

/** Bytes of one row: codes, scales (float32), zero points (one code for each block, packed as codes are). */
export interface RowBytes {
  readonly codes: number;
  readonly scales: number;
  /** 0 when symmetric. */
  readonly zeroPoints: number;
}

/** `columns` must be a multiple of the block size. */
export function rowBytes({ bits, blockSize, symmetric }: Scheme, columns: number): RowBytes {
  const blocks = columns / blockSize;
  const zeroPoints = symmetric ? 0 : Math.ceil((blocks * bits) / 8);
  return { codes: (columns * bits) / 8, scales: 4 * blocks, zeroPoints };
}
