/**
 * Test support: a runner without a model whose next token is a hash of what the KV cache holds, so any lost, doubled,
 * leaked or wrongly reused token shows. With depth 2 it is asynchronous: nothing of a plan is done before its collect.
 */
import type { KvLayout, ModelRunner, RunnerInfo } from '../../gpu-worker/engine/runner.ts';
import { PLACEHOLDER } from '../../gpu-worker/engine/step-plan.ts';
import type { PlanRow, StepPlan, StepResult } from '../../gpu-worker/engine/step-plan.ts';

const VOCAB = 256;

/** The token that follows `prefix`; only its last `context` tokens count. */
export function hashNext(prefix: ArrayLike<number>, context = Infinity): number {
  let hash = 17;
  for (let i = Math.max(0, prefix.length - context); i < prefix.length; i++) {
    hash = (Math.imul(hash, 31) + (prefix[i] ?? 0) + 1) | 0;
  }
  return ((hash ^ (hash >>> 13)) >>> 0) % VOCAB;
}

/** What a request with this prompt puts out, computed without any scheduling. */
export function hashContinuation(prompt: ArrayLike<number>, count: number, context = Infinity): number[] {
  const tokens = Array.from(prompt);
  for (let i = 0; i < count; i++) tokens.push(hashNext(tokens, context));
  return tokens.slice(prompt.length);
}

export interface HashRunnerOptions {
  /** Sequences at once. */
  readonly slots: number;
  readonly depth: 1 | 2;
  /** blocks: paged, of 16 tokens each. */
  readonly kind?: KvLayout['kind'];
  readonly maxModelLen?: number;
  /** By default all sequences may have full length. */
  readonly capacityTokens?: number;
  readonly maxStepTokens?: number;
  /** Tokens that the next one depends on: few make a text that repeats itself. */
  readonly context?: number;
  /** Plan ids at which collect throws. */
  readonly failAt?: ReadonlySet<number>;
  /** From this plan on the device is lost: launch and collect throw. */
  readonly loseAt?: number;
  /** Plan id → index of a row that cannot go on. */
  readonly failRow?: ReadonlyMap<number, number>;
  /** Milliseconds that a step claims to have taken. */
  readonly stepMs?: (plan: StepPlan) => number;
}

const BLOCK = 16;

export class HashRunner implements ModelRunner {
  readonly info: RunnerInfo;
  readonly depth: 1 | 2;
  readonly plans: StepPlan[] = [];
  lost: string | null = null;
  readonly #options: HashRunnerOptions;
  /** [block][position]: the KV cache is the tokens themselves. */
  readonly #kv: Int32Array[];
  readonly #launched: StepPlan[] = [];
  #drawn = new Map<number, number>();

  constructor(options: HashRunnerOptions) {
    const { slots, depth, kind = 'slots', maxModelLen = 4096, maxStepTokens = 64 } = options;
    this.#options = options;
    this.depth = depth;
    const capacityTokens = options.capacityTokens ?? slots * maxModelLen;
    const blockSize = kind === 'slots' ? maxModelLen : BLOCK;
    const blocks = kind === 'slots' ? 2 * slots : Math.floor(capacityTokens / BLOCK);
    const kv = { kind, blocks, blockSize, capacityTokens };
    this.#kv = Array.from({ length: blocks }, () => new Int32Array(blockSize).fill(-7));
    const base = { vocabSize: VOCAB, maxModelLen, maxNumSeqs: slots, maxStepTokens };
    this.info = { ...base, kv, eosIds: [], fingerprint: 'hash' };
  }

  launch(plan: StepPlan): void {
    if (this.lost !== null) throw new Error(this.lost);
    if (this.#launched.length >= this.depth) throw new Error('too many plans in flight');
    this.#launched.push(plan);
    this.plans.push(plan);
  }

  collect(): StepResult {
    const plan = this.#launched.shift();
    if (plan === undefined) throw new Error('nothing launched');
    if (this.#options.failAt?.has(plan.id) === true) {
      this.#launched.length = 0;
      throw new Error('injected failure');
    }
    if (plan.id >= (this.#options.loseAt ?? Infinity)) {
      this.#launched.length = 0;
      this.lost = 'injected loss';
      throw new Error(this.lost);
    }
    for (const { from, to, tokens } of plan.copies) this.#block(to).set(this.#block(from).subarray(0, tokens));
    for (const { block, tokens } of plan.drops) this.#block(block).fill(-7, tokens);
    const drawn = plan.rows.map((row) => this.#run(row));
    this.#drawn = new Map(plan.rows.flatMap((row, i) => (row.draws === 0 ? [] : [[row.sequence, drawn[i]?.[0] ?? 0]])));
    const runMs = this.#options.stepMs?.(plan) ?? 0;
    const failing = this.#options.failRow?.get(plan.id);
    const failures = new Map(failing === undefined ? [] : [[failing, 'injected']]);
    return { planId: plan.id, tokens: Int32Array.from(drawn.flat()), logprobs: null, failures, runMs, sampleMs: 0 };
  }

  dispose(): void {
    this.#launched.length = 0;
  }

  #block(block: number): Int32Array {
    const memory = this.#kv[block];
    if (memory === undefined) throw new Error(`no block ${block}`);
    return memory;
  }

  /** Writes the row's tokens, reads the whole prefix back, and draws from it. */
  #run({ sequence, blocks, start, ids, draws }: PlanRow): number[] {
    const { blockSize } = this.info.kv;
    const at = (position: number) => {
      const block = blocks[Math.floor(position / blockSize)];
      if (block === undefined) throw new Error(`sequence ${sequence} has no block for position ${position}`);
      return { memory: this.#block(block), index: position % blockSize };
    };
    ids.forEach((id, i) => {
      const { memory, index } = at(start + i);
      memory[index] = id === PLACEHOLDER ? this.#placeholder(sequence) : id;
    });
    const text = Array.from({ length: start + ids.length }, (_, position) => {
      const { memory, index } = at(position);
      return memory[index] ?? -7;
    });
    if (text.includes(-7)) throw new Error(`sequence ${sequence} reads KV that nobody wrote`);
    const first = text.length - draws + 1;
    return Array.from({ length: draws }, (_, i) => hashNext(text.slice(0, first + i), this.#options.context));
  }

  #placeholder(sequence: number): number {
    const token = this.#drawn.get(sequence);
    if (token === undefined) throw new Error('a placeholder without a draw before it');
    return token;
  }
}
