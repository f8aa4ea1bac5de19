/** What steps cost: predicts them for budget and drafts, learns from each one. Knows plans, no queue and no clock. */
import type { EnginePolicy } from './engine-options.ts';
import type { StepStats } from './messages.ts';
import { stepTokenBudget } from './modes.ts';
import { kvTokensRead, StepCostModel, type StepFeatures } from './step-cost.ts';
import type { StepPlan } from './step-plan.ts';

export class StepMeter {
  readonly #model = new StepCostModel();
  readonly #policy: Pick<EnginePolicy, 'mode' | 'itlMs'>;
  readonly #maxStepTokens: number;

  constructor(policy: Pick<EnginePolicy, 'mode' | 'itlMs'>, maxStepTokens: number) {
    this.#policy = policy;
    this.#maxStepTokens = maxStepTokens;
  }

  /** Tokens that the next step may run while `decoding` sequences read `kvTokens` positions. */
  tokenBudget(decoding: number, kvTokens: number): number {
    const { mode, itlMs } = this.#policy;
    const predictMs = (prefill: number) =>
      this.#model.predict({
        tokens: decoding + prefill,
        draws: decoding,
        kvTokens: kvTokens + kvTokensRead(0, prefill),
      });
    return stepTokenBudget({ mode, itlMs, maxStepTokens: this.#maxStepTokens, decodeTokens: decoding, predictMs });
  }

  /** Of a step without prompt tokens: drafts bring tokens for their time, so only an ITL objective limits them (null). */
  get draftBudget(): number | null {
    return this.#policy.itlMs === null ? this.#maxStepTokens : null;
  }

  /** Milliseconds; null before there is anything to go by. */
  predict(features: StepFeatures): number | null {
    return this.#model.predict(features);
  }

  observe(plan: StepPlan, ms: number): void {
    this.#model.observe(featuresOf(plan), ms);
  }

  /** Null before the first prediction was held against a step. */
  get cost(): StepStats['cost'] {
    const [medianError, coefficients] = [this.#model.medianError(), this.#model.coefficients()];
    return medianError === null || coefficients === null ? null : { medianError, coefficients };
  }
}

function featuresOf({ rows, tokens }: StepPlan): StepFeatures {
  let [draws, kvTokens] = [0, 0];
  for (const row of rows) {
    draws += row.draws;
    kvTokens += kvTokensRead(row.start, row.ids.length);
  }
  return { tokens, draws, kvTokens };
}
