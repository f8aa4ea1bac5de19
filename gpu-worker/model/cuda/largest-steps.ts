/** Runs the steps that need most working memory once, so that what is free afterwards may all be KV cache. Knows no plan. */
import type { Cuda } from '../runtime/cudart.ts';
import type { BucketLimits } from './buckets.ts';
import type { DeviceDraw } from './device-draw.ts';
import type { DrawKind } from './draw-graphs.ts';
import type { DeviceRules } from './device-rules.ts';
import type { PagedDecoder } from './paged-decoder.ts';
import type { PartLimits } from './plan-inputs.ts';
import { runRows } from './run-rows.ts';
import type { StepMemory } from './step-memory.ts';
import type { PlanRow } from '../../engine/step-plan.ts';

export interface StepParts {
  readonly cuda: Cuda;
  readonly memory: StepMemory;
  readonly decoder: PagedDecoder;
  readonly draw: DeviceDraw;
}

export interface LargestSteps {
  readonly maxNumSeqs: number;
  readonly maxStepTokens: number;
  /** Positions that the rotary tables have: what lies further is not the model's memory. */
  readonly maxModelLen: number;
  readonly partLimits: PartLimits;
  readonly buckets: BucketLimits;
}

const DRAW_KINDS: readonly DrawKind[] = ['greedy', 'sampled', 'mixed'];

/** Every block is block 0, so a cache of one block is enough. */
export function runLargestSteps(parts: StepParts & { readonly rules: DeviceRules }, limits: LargestSteps): void {
  const { maxNumSeqs, maxStepTokens, maxModelLen, buckets, partLimits } = limits;
  const longest = Math.min(maxStepTokens, maxModelLen);
  // Prompts of full length until the step is full.
  const prompts: PlanRow[] = [];
  for (let left = maxStepTokens; left > 0 && prompts.length < maxNumSeqs; left -= longest) {
    prompts.push(row(prompts.length, { start: 0, tokens: Math.min(left, longest), buckets }));
  }
  runStep(parts, prompts, partLimits);
  const decodes = Math.min(maxNumSeqs, maxStepTokens);
  const start = maxModelLen - 1;
  for (const size of parts.decoder.sizes) {
    const length = Math.min(decodes, size);
    const rows = Array.from({ length }, (_, i) => row(i, { start, tokens: 1, buckets }));
    runStep(parts, rows, partLimits);
  }
  if (partLimits.decodesApart) {
    // As much of the cache as is ever expanded at once.
    const count = Math.max(
      1,
      Math.min(maxNumSeqs, maxStepTokens >> 1, Math.floor(partLimits.maxExpanded / (start + 1))),
    );
    const rows = Array.from({ length: count }, (_, i) => row(i, { start: start - 1, tokens: 2, buckets }));
    if (count * 2 <= maxStepTokens && start > 1) runStep(parts, rows, partLimits);
  }
  const slot = parts.memory.slots[0];
  if (slot !== undefined) parts.rules.warmUp(slot);
  parts.cuda.synchronize();
}

function row(sequence: number, at: { start: number; tokens: number; buckets: BucketLimits }): PlanRow {
  const blocks = new Int32Array(at.buckets.maxWidth);
  return { sequence, blocks, start: at.start, ids: new Int32Array(at.tokens), draws: 0, sample: null };
}

function runStep({ cuda, memory, decoder, draw }: StepParts, rows: readonly PlanRow[], limits: PartLimits): void {
  if (rows.length === 0) return;
  const tokens = rows.reduce((sum, { ids }) => sum + ids.length, 0);
  const logits = Math.min(tokens, limits.maxDraws);
  const layout = runRows(rows, { memory, decoder, blockSize: limits.blockSize, logits });
  // Each kind has working memory of its own.
  for (const kind of DRAW_KINDS) draw.run(kind, layout, { first: 0, count: logits });
  cuda.synchronize();
}
