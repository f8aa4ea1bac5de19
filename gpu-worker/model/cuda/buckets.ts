/** Pure: which sizes of a decode step have a CUDA graph of their own. A step runs in the smallest that holds it. */

export interface BucketLimits {
  readonly maxRows: number;
  /** Blocks of the longest sequence. */
  readonly maxWidth: number;
}

export interface Bucket {
  /** Sequences; those that are not there are filled with rows that do nothing. */
  readonly rows: number;
  /** Blocks in a sequence's row of the block table. */
  readonly width: number;
}

/** Rows up to these are rounded up to multiples of the second number: padding stays below an eighth where it costs. */
const STEPS: readonly (readonly [upTo: number, multiple: number])[] = [
  [2, 1],
  [8, 4],
  [64, 8],
  [256, 16],
  [512, 32],
  [Infinity, 64],
];

/** Null: larger than any bucket. */
export function bucketFor(rows: number, width: number, { maxRows, maxWidth }: BucketLimits): Bucket | null {
  if (rows < 1 || rows > maxRows || width > maxWidth) return null;
  const [, multiple] = STEPS.find(([upTo]) => rows <= upTo) ?? [0, 1];
  return {
    rows: Math.min(maxRows, Math.ceil(rows / multiple) * multiple),
    // Each width costs graphs of all batches, and only bounds how far a kernel splits long sequences.
    width: Math.min(maxWidth, 2 ** Math.ceil(Math.log2(Math.max(1, width)))),
  };
}

/** Numbers buckets as CUDA graphs; no two of one limits share a number. */
export function graphId({ rows, width }: Bucket, { maxWidth }: BucketLimits): number {
  return rows * (maxWidth + 1) + width;
}
