/** A runner without a model: draws random words and says how long the step would have taken on the machine it stands for. Sleeps not. */
import { kvTokensRead } from '../../../gpu-worker/engine/step-cost.ts';
import type { ModelRunner, RunnerInfo } from '../../../gpu-worker/engine/runner.ts';
import type { StepPlan, StepResult } from '../../../gpu-worker/engine/step-plan.ts';

/** What a step costs, in milliseconds, by its shape: the same linear form that the engine learns. */
export interface StepCosts {
  readonly constantMs: number;
  readonly sequenceMs: number;
  readonly tokenMs: number;
  readonly kvTokenMs: number;
}

export interface SimulatedRunnerOptions {
  readonly costs: StepCosts;
  readonly maxNumSeqs: number;
  readonly maxModelLen: number;
  readonly maxStepTokens: number;
  readonly kvTokens: number;
  readonly vocabSize: number;
  /** What may be drawn. */
  readonly words: readonly number[];
}

const BLOCK_SIZE = 16;

export function stepMs({ rows, tokens }: StepPlan, costs: StepCosts): number {
  const kvTokens = rows.reduce((sum, { start, ids }) => sum + kvTokensRead(start, ids.length), 0);
  return costs.constantMs + costs.sequenceMs * rows.length + costs.tokenMs * tokens + costs.kvTokenMs * kvTokens;
}

export class SimulatedRunner implements ModelRunner {
  readonly depth = 1;
  readonly info: RunnerInfo;
  readonly #options: SimulatedRunnerOptions;
  #launched: StepPlan | null = null;

  /** Its KV cache is laid out as on a GPU: blocks of 16 tokens. */
  constructor(options: SimulatedRunnerOptions) {
    const { maxNumSeqs, maxModelLen, maxStepTokens, kvTokens, vocabSize } = options;
    const blocks = Math.floor(kvTokens / BLOCK_SIZE);
    const kv = { kind: 'blocks', blocks, blockSize: BLOCK_SIZE, capacityTokens: blocks * BLOCK_SIZE } as const;
    this.#options = options;
    this.info = { vocabSize, maxModelLen, maxNumSeqs, maxStepTokens, kv, eosIds: [], fingerprint: 'simulated' };
  }

  launch(plan: StepPlan): void {
    this.#launched = plan;
  }

  collect(): StepResult {
    const plan = this.#launched;
    if (plan === null) throw new Error('collect without a launched plan');
    this.#launched = null;
    const { words, costs } = this.#options;
    const draws = plan.rows.reduce((sum, row) => sum + row.draws, 0);
    const tokens = Int32Array.from({ length: draws }, () => words[Math.floor(Math.random() * words.length)] ?? 0);
    return { planId: plan.id, tokens, logprobs: null, runMs: stepMs(plan, costs), sampleMs: 0 };
  }

  dispose(): void {}
}
