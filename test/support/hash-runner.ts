/** Test support: a runner without a model whose next token is a hash of the whole prefix, so any lost, doubled or leaked token shows. */
import type { ModelRunner, RunnerInfo } from '../../gpu-worker/engine/runner.ts';
import { NO_TOKEN, PLACEHOLDER } from '../../gpu-worker/engine/step-plan.ts';
import type { PlanRow, StepPlan, StepResult } from '../../gpu-worker/engine/step-plan.ts';

const VOCAB = 256;

/** The token that follows `prefix`. */
export function hashNext(prefix: readonly number[]): number {
  let hash = 17;
  for (const id of prefix) hash = (Math.imul(hash, 31) + id + 1) | 0;
  return ((hash ^ (hash >>> 13)) >>> 0) % VOCAB;
}

/** What a request with this prompt puts out, computed without any scheduling. */
export function hashContinuation(prompt: ArrayLike<number>, count: number): number[] {
  const tokens = Array.from(prompt);
  for (let i = 0; i < count; i++) tokens.push(hashNext(tokens));
  return tokens.slice(prompt.length);
}

export interface HashRunnerOptions {
  readonly slots: number;
  readonly depth: 1 | 2;
  /** Plan ids at which collect throws. */
  readonly failAt?: ReadonlySet<number>;
}

export class HashRunner implements ModelRunner {
  readonly info: RunnerInfo;
  readonly depth: 1 | 2;
  readonly plans: StepPlan[] = [];
  readonly #failAt: ReadonlySet<number>;
  /** [slot][position]: the KV cache is the tokens themselves. */
  readonly #kv: number[][];
  readonly #launched: StepPlan[] = [];
  #drawn = new Map<number, number>();

  constructor({ slots, depth, failAt }: HashRunnerOptions) {
    this.depth = depth;
    this.#failAt = failAt ?? new Set();
    this.#kv = Array.from({ length: slots }, () => []);
    this.info = { vocabSize: VOCAB, maxModelLen: 4096, slots, eosIds: [], fingerprint: 'hash' };
  }

  launch(plan: StepPlan): void {
    if (this.#launched.length >= this.depth) throw new Error('too many plans in flight');
    this.#launched.push(plan);
    this.plans.push(plan);
  }

  collect(): StepResult {
    const plan = this.#launched.shift();
    if (plan === undefined) throw new Error('nothing launched');
    if (this.#failAt.has(plan.id)) {
      this.#launched.length = 0;
      throw new Error('injected failure');
    }
    for (const { from, to, tokens } of plan.moves) this.#kv[to] = (this.#kv[from] ?? []).slice(0, tokens);
    const tokens = Int32Array.from(plan.rows, (row) => this.#run(row));
    this.#drawn = new Map(plan.rows.map((row, i) => [row.sequence, tokens[i] ?? NO_TOKEN]));
    return { planId: plan.id, tokens, runMs: 0, sampleMs: 0 };
  }

  dispose(): void {
    this.#launched.length = 0;
  }

  #run(row: PlanRow): number {
    const kv = this.#kv[row.slot] ?? [];
    if (row.start > kv.length) throw new Error(`sequence ${row.sequence} starts at ${row.start}, past its KV`);
    kv.length = row.start;
    for (const id of row.ids) kv.push(id === PLACEHOLDER ? this.#placeholder(row) : id);
    return row.sample === null ? NO_TOKEN : hashNext(kv);
  }

  #placeholder(row: PlanRow): number {
    const token = this.#drawn.get(row.sequence);
    if (token === undefined || token === NO_TOKEN) throw new Error('a placeholder without a draw before it');
    return token;
  }
}
