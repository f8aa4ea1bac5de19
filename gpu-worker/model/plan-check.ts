/** Refuses step plans that would read or write KV positions wrongly. Pure; knows no session. */
import { PLACEHOLDER } from '../engine/step-plan.ts';
import type { StepPlan } from '../engine/step-plan.ts';

/** The plan contradicts the runner's state: a fault of the scheduler, never of a request. */
export class PlanError extends Error {
  override readonly name = 'PlanError';
}

export interface RunnerLimits {
  readonly slots: number;
  readonly maxModelLen: number;
  readonly vocabSize: number;
  readonly maxStepTokens: number;
}

/** `used[slot]`: tokens in KV before the plan. */
export function checkPlan(plan: StepPlan, limits: RunnerLimits, used: readonly number[]): void {
  const after = [...used];
  const fail = (message: string): never => {
    throw new PlanError(`plan ${plan.id}: ${message}`);
  };
  for (const { from, to, tokens } of plan.moves) {
    if (!isSlot(from, limits) || !isSlot(to, limits)) fail(`move ${from} → ${to} is not between slots`);
    if (tokens < 0 || tokens > (after[from] ?? 0)) fail(`move of ${tokens} tokens, slot ${from} holds ${after[from]}`);
    after[to] = tokens;
  }
  const seen = new Set<number>();
  let total = 0;
  for (const { slot, start, ids } of plan.rows) {
    if (!isSlot(slot, limits)) fail(`slot ${slot} does not exist`);
    if (seen.has(slot)) fail(`slot ${slot} has two rows`);
    seen.add(slot);
    if (ids.length === 0) fail(`the row in slot ${slot} is empty`);
    if (start < 0 || start > (after[slot] ?? 0))
      fail(`slot ${slot} holds ${after[slot]} tokens, its row starts at ${start}`);
    if (start + ids.length > limits.maxModelLen) fail(`slot ${slot} would exceed ${limits.maxModelLen} tokens`);
    const bad = ids.find((id) => id !== PLACEHOLDER && (id < 0 || id >= limits.vocabSize));
    if (bad !== undefined) fail(`token ${bad} in slot ${slot} is outside the vocabulary`);
    total += ids.length;
  }
  if (total > limits.maxStepTokens) fail(`${total} tokens, at most ${limits.maxStepTokens} fit a step`);
}

const isSlot = (slot: number, limits: RunnerLimits): boolean =>
  Number.isInteger(slot) && slot >= 0 && slot < limits.slots;
