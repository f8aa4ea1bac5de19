/** Refuses step plans that would read or write KV blocks wrongly. Pure; knows no session. */
import { PLACEHOLDER } from '../../engine/step-plan.ts';
import type { PlanRow, StepPlan } from '../../engine/step-plan.ts';
import { PlanError } from '../plan-check.ts';

export interface PagedLimits {
  readonly blocks: number;
  readonly blockSize: number;
  readonly maxNumSeqs: number;
  readonly maxModelLen: number;
  readonly maxStepTokens: number;
  readonly vocabSize: number;
}

export function checkPagedPlan(plan: StepPlan, limits: PagedLimits): void {
  const problem = copiesProblem(plan, limits) ?? rowsProblem(plan, limits);
  if (problem !== null) throw new PlanError(`plan ${plan.id}: ${problem}`);
}

function copiesProblem({ copies }: StepPlan, { blocks, blockSize }: PagedLimits): string | null {
  const exists = (block: number): boolean => Number.isInteger(block) && block >= 0 && block < blocks;
  for (const { from, to, tokens } of copies) {
    if (!exists(from) || !exists(to)) return `copy ${from} → ${to} is not between blocks`;
    if (!Number.isInteger(tokens) || tokens < 0 || tokens > blockSize) return `copy of ${tokens} tokens of a block`;
  }
  return null;
}

function rowsProblem({ rows, tokens }: StepPlan, limits: PagedLimits): string | null {
  if (rows.length > limits.maxNumSeqs) return `${rows.length} rows, at most ${limits.maxNumSeqs} fit a step`;
  if (tokens > limits.maxStepTokens) return `${tokens} tokens, at most ${limits.maxStepTokens} fit a step`;
  let total = 0;
  for (const row of rows) {
    const problem = rowProblem(row, limits);
    if (problem !== null) return `sequence ${row.sequence}: ${problem}`;
    total += row.ids.length;
  }
  return total === tokens ? null : `${total} tokens in its rows, ${tokens} announced`;
}

function rowProblem({ blocks, start, ids, draws, sample }: PlanRow, limits: PagedLimits): string | null {
  const end = start + ids.length;
  if (ids.length === 0) return 'its row is empty';
  if (!Number.isInteger(start) || start < 0) return `its row starts at ${start}`;
  if (end > limits.maxModelLen) return `it would have ${end} tokens, at most ${limits.maxModelLen}`;
  if (end > blocks.length * limits.blockSize) return `${end} tokens do not fit ${blocks.length} blocks`;
  for (const block of blocks) if (block < 0 || block >= limits.blocks) return `block ${block} does not exist`;
  if (!Number.isInteger(draws) || draws < 0 || draws > ids.length) return `${draws} draws after ${ids.length} tokens`;
  if ((sample === null) !== (draws === 0)) return `${draws} draws with ${sample === null ? 'no' : 'a'} way to draw`;
  for (const id of ids) {
    if (id !== PLACEHOLDER && (id < 0 || id >= limits.vocabSize)) return `token ${id} is outside the vocabulary`;
  }
  return null;
}
