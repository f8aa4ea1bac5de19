/** A runner that draws random tokens without a model and counts the time that it takes itself. For host time alone. */
import { performance } from 'node:perf_hooks';
import type { KvLayout, ModelRunner, RunnerInfo } from '../../../gpu-worker/engine/runner.ts';
import type { StepPlan, StepResult } from '../../../gpu-worker/engine/step-plan.ts';

/** What it says a step took: about a small model on a GPU, so that budgets and drafts are planned as with one. */
const STEP_MS = 5;
const TOKEN_MS = 0.03;
const MAX_MODEL_LEN = 2048;
const BLOCK_SIZE = 256;

export class FakeRunner implements ModelRunner {
  readonly info: RunnerInfo;
  readonly depth: 1 | 2;
  /** Milliseconds spent in here. */
  ownMs = 0;
  readonly #launched: StepPlan[] = [];
  #state = 1;

  /** slots: one plan in flight as on the CPU; blocks: two as on CUDA. */
  constructor(kind: KvLayout['kind'], maxNumSeqs: number, vocabSize: number) {
    const blocks = kind === 'slots' ? 2 * maxNumSeqs : (maxNumSeqs * MAX_MODEL_LEN) / BLOCK_SIZE;
    const blockSize = kind === 'slots' ? MAX_MODEL_LEN : BLOCK_SIZE;
    const kv = { kind, blocks, blockSize, capacityTokens: blocks * blockSize };
    const maxStepTokens = 4 * maxNumSeqs;
    this.info = {
      vocabSize,
      maxModelLen: MAX_MODEL_LEN,
      maxNumSeqs,
      maxStepTokens,
      kv,
      eosIds: [],
      fingerprint: 'fake',
    };
    this.depth = kind === 'slots' ? 1 : 2;
  }

  launch(plan: StepPlan): void {
    this.#launched.push(plan);
  }

  collect(): StepResult {
    const begin = performance.now();
    const plan = this.#launched.shift();
    if (plan === undefined) throw new Error('collect without a launched plan');
    const tokens = new Int32Array(plan.rows.reduce((sum, { draws }) => sum + draws, 0));
    for (let i = 0; i < tokens.length; i++) tokens[i] = this.#next() % this.info.vocabSize;
    this.ownMs += performance.now() - begin;
    return {
      planId: plan.id,
      tokens,
      logprobs: null,

      runMs: STEP_MS + TOKEN_MS * plan.tokens,
      sampleMs: 0,
    };
  }

  dispose(): void {}

  /** Numerical Recipes' generator, its high bits. */
  #next(): number {
    this.#state = (Math.imul(this.#state, 1_664_525) + 1_013_904_223) | 0;
    return this.#state >>> 8;
  }
}
