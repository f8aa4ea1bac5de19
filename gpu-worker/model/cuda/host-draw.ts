/** Draws on the host for steps with seeded, truncated, ruled or reported rows: logits come over, tokens go back. Knows no session. */
import { PLACEHOLDER } from '../../engine/step-plan.ts';
import type { PlanRow, TokenLogprobs } from '../../engine/step-plan.ts';
import type { Cuda } from '../runtime/cudart.ts';
import type { DrawTarget, Sampler } from '../sampler.ts';
import type { Part } from './plan-inputs.ts';
import type { StepMemory } from './step-memory.ts';

/** What a step's host draws came to, in the plan's order. */
export interface HostDraws {
  readonly tokens: Int32Array;
  readonly logprobs: (TokenLogprobs | null)[];
  readonly failures: Map<number, string>;
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

const FLOAT_BYTES = 4;

export class HostDraw {
  readonly #cuda: Cuda;
  readonly #memory: StepMemory;
  readonly #sampler: Sampler;
  /** Rows that the sampler has memory for. */
  readonly #chunk: number;

  constructor(cuda: Cuda, memory: StepMemory, { sampler, chunk }: { sampler: Sampler; chunk: number }) {
    this.#cuda = cuda;
    this.#memory = memory;
    this.#sampler = sampler;
    this.#chunk = chunk;
  }

  begin(draws: number): HostDraws {
    return { tokens: new Int32Array(draws), logprobs: new Array(draws).fill(null), failures: new Map(), ms: 0 };
  }

  /** For a part whose logits are queued; blocks until they are there. */
  draw(into: HostDraws, { rows, part, order, tokenOf }: HostDrawRun): void {
    const targets = part.rows.flatMap((place) => targetsOf(rows, place, tokenOf));
    this.#cuda.synchronize();
    const begin = performance.now();
    const rowBytes = this.#memory.sizes.vocabSize * FLOAT_BYTES;
    const { pointer } = this.#memory.logits(1);
    for (let first = 0; first < targets.length; first += this.#chunk) {
      const chunk = targets.slice(first, first + this.#chunk);
      const source = pointer + BigInt(first * rowBytes);
      this.#cuda.toHost(this.#sampler.logits.pointer, source, chunk.length * rowBytes);
      this.#cuda.synchronize();
      const { tokens, logprobs, failures } = this.#sampler.sample(chunk);
      chunk.forEach((_, i) => {
        const place = order[first + i] ?? 0;
        into.tokens[place] = tokens[i] ?? 0;
        into.logprobs[place] = logprobs?.[i] ?? null;
      });
      for (const [row, problem] of failures) into.failures.set(row, problem);
    }
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
