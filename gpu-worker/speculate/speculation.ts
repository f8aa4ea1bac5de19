/** Speculation of an engine: a drafter for every sequence that wants one, and how much each drafts. Knows no plans. */
import type { StepMeter } from '../engine/step-meter.ts';
import { DraftLengths, type DraftState } from './draft-length.ts';
import type { Drafter } from './drafter.ts';
import type { DraftCandidate, Drafting, DraftSubject, StepShape } from './drafting.ts';
import { NgramDrafter } from './ngram.ts';

/** Most drafts of a row: beyond, even a certain draft saves little more. */
const MAX_DRAFTS = 15;
/** What a request that insists on n-grams drafts in every step. */
const FIXED_DRAFTS = 5;
const NONE = new Int32Array();

interface Entry {
  readonly drafter: Drafter;
  readonly state: DraftState;
  /** Context of the last proposal, to judge it by. */
  matchLength: number | null;
}

export class Speculation implements Drafting {
  readonly #meter: Pick<StepMeter, 'predict'>;
  readonly #lengths = new DraftLengths();
  readonly #entries = new Map<number, Entry>();

  constructor(meter: Pick<StepMeter, 'predict'>) {
    this.#meter = meter;
  }

  draft(candidates: readonly DraftCandidate[], step: StepShape): readonly Int32Array[] {
    const entries = candidates.map(({ subject }) => this.#entryOf(subject));
    const rows = entries.flatMap((entry, i) => {
      const { subject, room } = candidates[i] ?? {};
      if (entry === null || subject?.request.speculation !== 'auto') return [];
      return [{ at: i, state: entry.state, matchLength: entry.matchLength, room: Math.min(room ?? 0, MAX_DRAFTS) }];
    });
    const lengths = this.#planned(rows, candidates.length, step);
    const wanted = candidates.map(({ subject, room }) =>
      subject.request.speculation === 'n-gram' ? Math.min(room, FIXED_DRAFTS) : 0,
    );
    for (const [i, { at }] of rows.entries()) wanted[at] = lengths[i] ?? 0;
    return wanted.map((count, i) => (count > 0 ? (entries[i]?.drafter.propose(count) ?? NONE) : NONE));
  }

  observe(subject: DraftSubject, { drafted, made }: { readonly drafted: number; readonly made: number }): void {
    const entry = this.#entries.get(subject.number);
    if (entry === undefined) return;
    this.#lengths.record(entry.state, entry.matchLength, { drafted, accepted: made - 1 });
    entry.drafter.observe(subject.tokens.subarray(subject.length - made, subject.length));
  }

  forget({ number }: DraftSubject): void {
    this.#entries.get(number)?.drafter.dispose();
    this.#entries.delete(number);
  }

  #planned(
    rows: readonly { readonly state: DraftState; readonly matchLength: number | null; readonly room: number }[],
    decoding: number,
    { tokens, draws, kvTokens }: StepShape,
  ): readonly number[] {
    if (rows.length === 0) return [];
    const stepMs = (drafts: number) =>
      this.#meter.predict({ tokens: tokens + drafts, draws: draws + drafts, kvTokens });
    const decodeMs = this.#meter.predict({ tokens: decoding, draws: decoding, kvTokens });
    return this.#lengths.plan(rows, { decoding, decodeMs, stepMs });
  }

  /** Null: this sequence does not speculate. */
  #entryOf(subject: DraftSubject): Entry | null {
    if (subject.request.speculation === 'off') return null;
    let entry = this.#entries.get(subject.number);
    if (entry === undefined) {
      entry = { drafter: new NgramDrafter(), state: this.#lengths.newState(), matchLength: 0 };
      entry.drafter.reset(subject.tokens.subarray(0, subject.length));
      this.#entries.set(subject.number, entry);
    }
    entry.matchLength = entry.drafter.matchLength();
    return entry;
  }
}
