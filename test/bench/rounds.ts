/** Repeated measurements: variants in turn, and what the repetitions say together. Pure. */

export interface Run<TVariant> {
  /** 0, 1, 2 … */
  readonly round: number;
  readonly variant: TVariant;
}

/** Every variant once a round, in the same order: a drift of the machine meets all of them alike. */
export function interleave<TVariant>(variants: readonly TVariant[], rounds: number): readonly Run<TVariant>[] {
  return Array.from({ length: rounds }, (_, round) => variants.map((variant) => ({ round, variant }))).flat();
}

/** Over rounds. All NaN, in JSON null, where nothing was measured. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export function spreadOf(values: readonly number[]): Spread {
  return { median: median(values), min: percentile(values, 0), max: percentile(values, 1) };
}

/** The middle value, or the mean of the middle two. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return ((sorted[Math.floor(middle)] ?? NaN) + (sorted[Math.ceil(middle)] ?? NaN)) / 2;
}

/** Nearest rank: the smallest value that at least `fraction` of all values do not exceed. */
export function percentile(values: readonly number[], fraction: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(fraction * sorted.length) - 1)] ?? NaN;
}
