/** What the measures of routing share, and what they give back. Measures nothing. */
import type { Figure, Must } from '../engine/measure.ts';
import { spreadOf } from '../rounds.ts';
import type { RoutingOptions } from './options.ts';

export interface Report {
  readonly figures: readonly Figure[];
  /** Shown above the figures. */
  readonly table?: string;
}

/** Throws when there is no figure to give. */
export type Measure = (options: RoutingOptions, show: (text: string) => void) => Promise<Report>;

export interface FigureParts {
  readonly unit: Figure['unit'];
  /** One value, or one of each repetition. */
  readonly values: readonly number[];
  readonly must: Must | null;
  readonly details: Figure['details'];
}

export function figure(name: string, { unit, values, must, details }: FigureParts): Figure {
  return { name, unit, spread: spreadOf(values), must, details, profiles: {} };
}
