/** One request's tokens and counters inside the engine. Changes only in admit, schedule's reservation, commit and rollback. */
import { seedKey } from '../sample/noise.ts';
import type { EngineRequest } from './messages.ts';
import { PLACEHOLDER } from './step-plan.ts';
import type { PlanRow, SampleSpec } from './step-plan.ts';

export type SequenceStatus = 'waiting' | 'running' | 'finished';

export class Sequence {
  /** The scheduler's number, never reused. */
  readonly number: number;
  readonly request: EngineRequest;
  readonly choice = 0;
  status: SequenceStatus = 'waiting';
  /** KV row while running. */
  slot: number | null = null;
  /** Tokens whose KV is committed. */
  computed = 0;
  /** Tokens of launched, uncommitted plans; they follow the computed ones. */
  inFlight = 0;
  /** Draws of launched, uncommitted plans: tokens that exist but are not known yet. */
  pendingDraws = 0;
  readonly #seed: readonly [number, number];
  #tokens: Int32Array;
  #length: number;

  constructor(number: number, request: EngineRequest) {
    this.number = number;
    this.request = request;
    this.#seed = seedKey(request.params.seed);
    this.#length = request.promptIds.length + request.generatedIds.length;
    this.#tokens = new Int32Array(this.#length + Math.min(request.params.maxTokens, 64));
    this.#tokens.set(request.promptIds);
    this.#tokens.set(request.generatedIds, request.promptIds.length);
  }

  /** Known tokens: prompt and output. */
  get length(): number {
    return this.#length;
  }

  get outputTokens(): number {
    return this.#length - this.request.promptIds.length;
  }

  /** Prompt tokens not yet computed, for the load figures. */
  get prefillLeft(): number {
    return Math.max(0, this.request.promptIds.length - this.computed);
  }

  /** The one subtraction: tokens that exist or are being drawn, minus those computed or being computed. */
  get remaining(): number {
    const draws = this.pendingDraws;
    // The last token an output may have is never an input.
    if (this.outputTokens + draws >= this.request.params.maxTokens) return 0;
    return this.#length + draws - this.computed - this.inFlight;
  }

  /** The next `count` tokens as a row of a plan; reserves them. The slot must be set. */
  reserve(count: number): PlanRow {
    if (this.slot === null) throw new Error(`sequence ${this.number} has no slot`);
    const start = this.computed + this.inFlight;
    const ids = new Int32Array(count).fill(PLACEHOLDER);
    ids.set(this.#tokens.subarray(start, Math.min(start + count, this.#length)));
    const complete = start + count === this.#length + this.pendingDraws;
    const sample = complete ? this.#sampleSpec() : null;
    this.inFlight += count;
    if (complete) this.pendingDraws++;
    return { sequence: this.number, slot: this.slot, start, ids, sample };
  }

  commit(row: PlanRow, token: number): void {
    this.release(row);
    this.computed += row.ids.length;
    if (row.sample !== null) this.#append(token);
  }

  /** Takes a reservation back, as if the row had never been planned. */
  release(row: PlanRow): void {
    this.inFlight -= row.ids.length;
    if (row.sample !== null) this.pendingDraws--;
  }

  #sampleSpec(): SampleSpec {
    const { temperature, topP, topK, minP } = this.request.params;
    const index = this.outputTokens + this.pendingDraws;
    return { temperature, topP, topK, minP, seed: this.#seed, choice: this.choice, index };
  }

  #append(token: number): void {
    if (this.#length === this.#tokens.length) {
      const grown = new Int32Array(this.#tokens.length * 2);
      grown.set(this.#tokens);
      this.#tokens = grown;
    }
    this.#tokens[this.#length++] = token;
  }
}
