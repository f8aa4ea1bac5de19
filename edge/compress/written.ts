/** Units of a message's output, and what a shortened line leaves behind. Types only. */
import type { Unit } from './units.ts';

/** A sentence that was left out of a line. */
export interface Left {
  /** Index in `Cut.originals`. */
  readonly line: number;
  readonly start: number;
  readonly end: number;
}

/** A line that was sent for longer ones. */
export interface Cut {
  readonly originals: readonly string[];
  /** Hash of the first one's quote. */
  readonly quote: number;
  /** In order; what is told later leaves. */
  left: readonly Left[];
}

/** A line of prose without some of its sentences, and maybe lines after it that lost all. */
export interface CutLine extends Cut {
  readonly kind: 'cut';
  readonly text: string;
}

/** Stands for a run of lines above. */
export interface Reference {
  readonly kind: 'reference';
  readonly text: string;
  /** Its text if no `Rest` follows. */
  readonly alone: string;
}

/** Neighbouring sentences that a line above was sent without; they stand in the source from `start` on. */
export interface Rest {
  readonly kind: 'rest';
  readonly text: string;
  readonly start: number;
  readonly cut: Cut;
  readonly told: readonly Left[];
}

export type Written = Unit | CutLine | Reference | Rest;
