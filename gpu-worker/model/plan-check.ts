/** Refuses step plans that would read or write KV positions wrongly. Pure; knows no session. */
import { PLACEHOLDER } from '../engine/step-plan.ts';
import type { PlanRow, StepPlan } from '../engine/step-plan.ts';

/** The plan contradicts the runner's state: a fault of the scheduler, never of a request. */
export class PlanError extends Error {
  override readonly name = 'PlanError';
}

export interface RunnerLimits {
  readonly slots: number;
  readonly maxNumSeqs: number;
  readonly maxModelLen: number;
  readonly maxStepTokens: number;
  readonly vocabSize: number;
}

/** A slot that already has a row in the plan. */
const TAKEN = -1;

/** `used[slot]`: tokens in KV before the plan. */
export function checkPlan(plan: StepPlan, limits: RunnerLimits, used: Int32Array): void {
  const held = used.slice();
  const problem = transferProblem(plan, held) ?? sizeProblem(plan, limits) ?? rowsProblem(plan, limits, held);
  if (problem !== null) throw new PlanError(`plan ${plan.id}: ${problem}`);
}

/** Applies copies and drops to `held`. */
function transferProblem(plan: StepPlan, held: Int32Array): string | null {
  for (const { from, to, tokens } of plan.copies) {
    const source = held[from];
    if (source === undefined || held[to] === undefined) return `copy ${from} → ${to} is not between slots`;
    if (!isCount(tokens) || tokens > source) return `copy of ${tokens} tokens, slot ${from} holds ${source}`;
    held[to] = tokens;
  }
  for (const { block, tokens } of plan.drops) {
    const before = held[block];
    if (before === undefined) return `dropped slot ${block} does not exist`;
    if (!isCount(tokens)) return `drop from position ${tokens}`;
    held[block] = Math.min(before, tokens);
  }
  return null;
}

function sizeProblem({ rows, tokens }: StepPlan, limits: RunnerLimits): string | null {
  if (rows.length > limits.maxNumSeqs) return `${rows.length} rows, at most ${limits.maxNumSeqs} fit a step`;
  if (tokens > limits.maxStepTokens) return `${tokens} tokens, at most ${limits.maxStepTokens} fit a step`;
  return null;
}

function rowsProblem(plan: StepPlan, limits: RunnerLimits, held: Int32Array): string | null {
  let total = 0;
  for (const row of plan.rows) {
    const problem = rowProblem(row, limits, held);
    if (problem !== null) return problem;
    total += row.ids.length;
  }
  return total === plan.tokens ? null : `${total} tokens in its rows, ${plan.tokens} announced`;
}

/** Marks the row's slot as taken. */
function rowProblem(row: PlanRow, limits: RunnerLimits, held: Int32Array): string | null {
  const { blocks, start, ids, draws, sample } = row;
  const slot = blocks[0];
  if (slot === undefined || blocks.length !== 1) return `sequence ${row.sequence} has ${blocks.length} slots, not one`;
  const before = held[slot];
  if (before === undefined) return `slot ${slot} does not exist`;
  if (before === TAKEN) return `slot ${slot} has two rows`;
  held[slot] = TAKEN;
  if (ids.length === 0) return `the row in slot ${slot} is empty`;
  if (!isCount(start) || start > before) return `slot ${slot} holds ${before} tokens, its row starts at ${start}`;
  if (start + ids.length > limits.maxModelLen) return `slot ${slot} would exceed ${limits.maxModelLen} tokens`;
  if (!isCount(draws) || draws > ids.length) return `${draws} draws after ${ids.length} tokens in slot ${slot}`;
  if ((sample === null) !== (draws === 0))
    return `${draws} draws in slot ${slot} with ${sample === null ? 'no' : 'a'} way to draw`;
  for (const id of ids) {
    if (id !== PLACEHOLDER && (id < 0 || id >= limits.vocabSize))
      return `token ${id} in slot ${slot} is outside the vocabulary`;
  }
  return null;
}

const isCount = (value: number): boolean => Number.isInteger(value) && value >= 0;
