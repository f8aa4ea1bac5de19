/** What a measure of the engine is and what it gives back. Measures nothing. */
import type { Spread } from '../rounds.ts';
import type { Bench } from './bench.ts';
import type { StepProfile } from './step-profile.ts';

/** On the median over rounds. */
export type Must = { readonly atLeast: number } | { readonly atMost: number };

export interface Figure {
  readonly name: string;
  /** ×: a ratio. */
  readonly unit: '×' | 'ms' | '%';
  /** Over rounds. */
  readonly spread: Spread;
  /** Null: only to be known. */
  readonly must: Must | null;
  /** How it came about, for the JSON line. */
  readonly details: Readonly<Record<string, unknown>>;
  /** Where the steps of each side spent their time. */
  readonly profiles: Readonly<Record<string, StepProfile>>;
}

/** Throws when there is no figure to give: a request failed or tokens are missing. Tokens that differ where they must not are a fault. */
export type Measure = (bench: Bench) => Promise<readonly Figure[]>;

/** Null: nothing is asked. */
export function isMet({ must, spread }: Figure): boolean | null {
  if (must === null) return null;
  return 'atLeast' in must ? spread.median >= must.atLeast : spread.median <= must.atMost;
}
