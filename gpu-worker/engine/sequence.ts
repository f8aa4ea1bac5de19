/** One choice's tokens and counters inside the engine. Changes only in admit, reserve, commit, release and preempt. */
import type { KvOwner } from '../kv/kv-cache.ts';
import type { LogitsMask, LogitsRules } from '../sample/logits-rules.ts';
import { seedKey } from '../sample/noise.ts';
import { TokenHistory } from '../sample/token-history.ts';
import type { EngineRequest } from './messages.ts';
import { rulesOf } from './request-rules.ts';
import { PLACEHOLDER } from './step-plan.ts';
import type { PlanRow, SampleSpec } from './step-plan.ts';

export type SequenceStatus = 'waiting' | 'running' | 'finished';

export interface SequenceIdentity {
  /** The scheduler's number, never reused; also the order of arrival. */
  readonly number: number;
  readonly choice: number;
  /** Space of the prefix cache. */
  readonly salt: string;
  readonly mask: LogitsMask | null;
}

export class Sequence {
  readonly number: number;
  readonly request: EngineRequest;
  readonly choice: number;
  readonly salt: string;
  status: SequenceStatus = 'waiting';
  /** Tokens whose KV is committed. */
  computed = 0;
  /** Tokens of launched, uncommitted plans; they follow the computed ones. */
  inFlight = 0;
  /** Draws of launched, uncommitted plans: tokens that exist but are not known yet. */
  pendingDraws = 0;
  /** A plan with drafts is out: how many tokens it makes is not known, so nothing follows it. */
  verifying = false;
  /** Rows launched before a preemption whose draws are still to come. */
  lateRows = 0;
  /** Counts preemptions: rows of an earlier generation no longer say where the KV ends. */
  generation = 0;
  /** Prompt tokens that the first admission found in the prefix cache. */
  cachedTokens = 0;
  draftedTokens = 0;
  readonly #seed: readonly [number, number] | null;
  readonly #rules: LogitsRules | null;
  readonly #history: TokenHistory;
  #tokens: Int32Array;
  #length: number;

  constructor(identity: SequenceIdentity, request: EngineRequest) {
    const { promptIds, generatedIds, params } = request;
    this.number = identity.number;
    this.choice = identity.choice;
    this.salt = identity.salt;
    this.request = request;
    this.#seed = params.seed === null ? null : seedKey(params.seed);
    this.#length = promptIds.length + generatedIds.length;
    this.#tokens = new Int32Array(this.#length + Math.min(params.maxTokens, 64));
    this.#tokens.set(promptIds);
    this.#tokens.set(generatedIds, promptIds.length);
    this.#history = new TokenHistory([], generatedIds);
    this.#rules = rulesOf(request, this.#history, identity.mask);
    for (const id of generatedIds) identity.mask?.accept(id);
  }

  get tenant(): string {
    return this.request.tenant;
  }

  get priority(): number {
    return this.request.priority;
  }

  get arrival(): number {
    return this.number;
  }

  /** Known tokens: prompt and output. */
  get length(): number {
    return this.#length;
  }

  /** [≥ length]: the first `length` are the known tokens. Replaced when it grows. */
  get tokens(): Int32Array {
    return this.#tokens;
  }

  get owner(): KvOwner {
    const pinned = this.request.pinnedTokens ?? 0;
    return { sequence: this.number, salt: this.salt, tokens: this.#tokens.subarray(0, this.#length), pinned };
  }

  get outputTokens(): number {
    return this.#length - this.request.promptIds.length;
  }

  /** Prompt tokens not yet computed, for the load figures. */
  get prefillLeft(): number {
    return Math.max(0, this.request.promptIds.length - this.computed);
  }

  /** Where the next row starts. */
  get scheduled(): number {
    return this.computed + this.inFlight;
  }

  /** The one subtraction: tokens that exist or are being drawn, minus those computed or being computed. */
  get remaining(): number {
    const draws = this.pendingDraws;
    if (this.verifying || this.lateRows > 0) return 0;
    // A mask waits for the host to know the last token.
    if (draws > 0 && this.#rules?.mask != null) return 0;
    // The last token an output may have is never an input.
    if (this.outputTokens + draws >= this.request.params.maxTokens) return 0;
    return this.#length + draws - this.computed - this.inFlight;
  }

  /** Drafts that the planned next token may be followed by: each may become output, and one more follows the last. */
  get draftRoom(): number {
    // With an earlier plan out, the last token is not known.
    if (this.inFlight !== 1 || this.pendingDraws !== 1) return 0;
    return Math.max(0, this.request.params.maxTokens - this.outputTokens - 1);
  }

  /** The next `count` tokens and then `drafts` as a row of a plan; reserves them. */
  reserve(blocks: Int32Array, count: number, drafts: Int32Array = NO_DRAFTS): PlanRow {
    const start = this.scheduled;
    const ids = new Int32Array(count + drafts.length);
    const known = Math.min(count, this.#length - start);
    for (let i = 0; i < known; i++) ids[i] = this.#tokens[start + i] ?? 0;
    ids.fill(PLACEHOLDER, known, count);
    ids.set(drafts, count);
    const complete = start + count === this.#length + this.pendingDraws;
    const sample = complete ? this.#sampleSpec() : null;
    const draws = complete ? 1 + drafts.length : 0;
    this.inFlight += ids.length;
    this.pendingDraws += draws;
    this.verifying = drafts.length > 0;
    return { sequence: this.number, blocks, start, ids, draws, sample };
  }

  /**
   * Takes in what a row drew; returns how many of the draws became output: the drafts that equal the model's own
   * choice, and the one after them. The rest of a verified row never happened.
   */
  commit(row: PlanRow, drawn: Int32Array, generation: number): number {
    const made = row.draws === 0 ? 0 : acceptedDraws(row, drawn);
    if (generation === this.generation) {
      this.release(row, generation);
      this.computed += row.draws === 0 ? row.ids.length : row.ids.length - row.draws + made;
    } else {
      this.lateRows--;
    }
    if (row.draws > 1) this.draftedTokens += row.draws - 1;
    for (let i = 0; i < made; i++) this.#append(drawn[i] ?? 0);
    return made;
  }

  /** Takes a reservation back, as if the row had never been planned. */
  release(row: PlanRow, generation: number): void {
    if (generation !== this.generation) {
      this.lateRows--;
      return;
    }
    this.inFlight -= row.ids.length;
    this.pendingDraws -= row.draws;
    if (row.draws > 1) this.verifying = false;
  }

  /** Back to waiting with nothing computed; `rowsInFlight` plans may still bring draws. */
  preempt(rowsInFlight: number): void {
    this.status = 'waiting';
    this.generation++;
    this.computed = 0;
    this.inFlight = 0;
    this.pendingDraws = 0;
    this.verifying = false;
    this.lateRows += rowsInFlight;
  }

  #sampleSpec(): SampleSpec {
    const { temperature, topP, topK, minP, logprobs } = this.request.params;
    const index = this.outputTokens + this.pendingDraws;
    const [seed, rules] = [this.#seed, this.#rules];
    return { temperature, topP, topK, minP, seed, choice: this.choice, index, rules, logprobs };
  }

  #append(token: number): void {
    if (this.#length === this.#tokens.length) {
      const grown = new Int32Array(this.#tokens.length * 2);
      grown.set(this.#tokens);
      this.#tokens = grown;
    }
    this.#tokens[this.#length++] = token;
    if (this.#rules === null) return;
    this.#history.addOutput(token);
    this.#rules.mask?.accept(token);
  }
}

const NO_DRAFTS = new Int32Array();

/** 1 + the number of leading drafts that were drawn. */
function acceptedDraws({ ids, draws }: PlanRow, drawn: Int32Array): number {
  const first = ids.length - draws + 1;
  let made = 1;
  while (made < draws && drawn[made - 1] === ids[first + made - 1]) made++;
  return made;
}
