/** Draws with the host's part in it, for steps with seeded, truncated, ruled or reported rows. Knows no session. */
import { PLACEHOLDER } from '../../engine/step-plan.ts';
import type { PlanRow, TokenLogprobs } from '../../engine/step-plan.ts';
import type { DrawTarget, Sampler } from '../sampler.ts';
import type { Part } from './plan-inputs.ts';

/** What a step's host draws came to, in the plan's order. */
export interface HostDraws {
  readonly tokens: Int32Array;
  readonly logprobs: (TokenLogprobs | null)[];
  readonly failures: Map<number, string>;
  /** That drawing took, without the model's time. */
  ms: number;
}

export interface HostDrawRun {
  readonly rows: readonly PlanRow[];
  readonly part: Part;
  /** [draws of the part]: the place of each in the plan's order. */
  readonly order: Int32Array;
  /** What the plan before drew for a sequence, which its rules do not know yet. */
  readonly tokenOf: (sequence: number) => number | null;
}

export class HostDraw {
  readonly #sampler: Sampler;
  /** New logits are queued to draw from; blocks until they are there. */
  readonly #begin: () => void;

  constructor(sampler: Sampler, begin: () => void) {
    this.#sampler = sampler;
    this.#begin = begin;
  }

  /** Draws once in every way from the logits that are there, so that the memory it takes is taken. */
  warmUp(rows: number): void {
    const seed = [1, 1] as const;
    const plain = { temperature: 1, topP: 0.9, topK: 0, minP: 0, choice: 0, index: 0, rules: null, logprobs: 20 };
    const drafts = new Int32Array();
    this.#begin();
    this.#sampler.sample(
      Array.from({ length: rows }, (_, row): DrawTarget => {
        const unseeded = { ...plain, topP: 1, temperature: row % 3 === 0 ? 0 : 1, seed: null };
        return { row, spec: row % 3 === 1 ? { ...plain, seed } : unseeded, drafts };
      }),
    );
  }

  begin(draws: number): HostDraws {
    return { tokens: new Int32Array(draws), logprobs: new Array(draws).fill(null), failures: new Map(), ms: 0 };
  }

  /** For a part whose logits are queued; blocks until they are there. */
  draw(into: HostDraws, { rows, part, order, tokenOf }: HostDrawRun): void {
    const targets = part.rows.flatMap((place) => targetsOf(rows, place, tokenOf));
    this.#begin();
    const begin = performance.now();
    const { tokens, logprobs, failures } = this.#sampler.sample(targets);
    order.forEach((place, i) => {
      into.tokens[place] = tokens[i] ?? 0;
      into.logprobs[place] = logprobs?.[i] ?? null;
    });
    for (const [row, problem] of failures) into.failures.set(row, problem);
    into.ms += performance.now() - begin;
  }

  free(): void {
    this.#sampler.free();
  }
}

/** One target for each draw of the row; a draw sees the drafts before it. */
function targetsOf(rows: readonly PlanRow[], place: number, tokenOf: HostDrawRun['tokenOf']): readonly DrawTarget[] {
  const row = rows[place];
  if (row === undefined || row.sample === null) return [];
  const { ids, draws, sample, sequence } = row;
  const firstDraft = ids.length - draws + 1;
  const drawn = sample.rules !== null && ids.includes(PLACEHOLDER) ? tokenOf(sequence) : null;
  const unseen = drawn === null ? new Int32Array() : Int32Array.of(drawn);
  return Array.from({ length: draws }, (_, draw) => {
    return { row: place, spec: sample, drafts: ids.subarray(firstDraft, firstDraft + draw), unseen };
  });
}
