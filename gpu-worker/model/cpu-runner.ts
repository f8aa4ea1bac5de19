/** Runs step plans on the CPU, one at a time: KV copies and drops, model runs, draws. Knows no scheduling and no file format. */
import { PLACEHOLDER } from '../engine/step-plan.ts';
import type { PlanRow, StepPlan, StepResult } from '../engine/step-plan.ts';
import type { ModelRunner, RunnerInfo } from '../engine/runner.ts';
import type { CpuDecoder } from './cpu-decoder.ts';
import type { KvSlots } from './kv-slots.ts';
import { checkPlan, PlanError } from './plan-check.ts';
import type { RunnerLimits } from './plan-check.ts';
import type { RunBuffers } from './run-buffers.ts';
import type { DrawTarget, Sampler } from './sampler.ts';

export interface CpuRunnerParts {
  readonly info: RunnerInfo;
  readonly decoder: CpuDecoder;
  readonly buffers: RunBuffers;
  readonly kv: KvSlots;
  readonly sampler: Sampler;
  /** Frees everything above. */
  readonly onDispose: () => void;
}

export class CpuRunner implements ModelRunner {
  readonly info: RunnerInfo;
  readonly depth = 1;
  readonly #parts: CpuRunnerParts;
  readonly #limits: RunnerLimits;
  #launched: StepPlan | null = null;
  /** The last collected plan: what placeholders stand for. */
  #last: { readonly plan: StepPlan; readonly tokens: Int32Array } | null = null;
  #disposed = false;

  constructor(parts: CpuRunnerParts) {
    this.info = parts.info;
    this.#parts = parts;
    this.#limits = { ...parts.info, slots: parts.info.kv.blocks };
  }

  launch(plan: StepPlan): void {
    if (this.#disposed) throw new PlanError(`plan ${plan.id} launched on a runner that is disposed of`);
    if (this.#launched !== null)
      throw new PlanError(`plan ${plan.id} launched while ${this.#launched.id} is not collected`);
    checkPlan(plan, this.#limits, this.#parts.kv.used);
    this.#launched = this.#fillPlaceholders(plan);
    this.#last = null;
  }

  collect(): StepResult {
    const plan = this.#launched;
    if (plan === null) throw new PlanError('collect without a launched plan');
    this.#launched = null;
    const { kv, sampler } = this.#parts;
    const begin = performance.now();
    for (const copy of plan.copies) kv.copy(copy);
    for (const drop of plan.drops) kv.drop(drop);
    this.#runModel(plan.rows);
    const ran = performance.now();
    const { tokens, logprobs, failures } = sampler.sample(plan.rows.flatMap(drawTargets));
    this.#last = { plan, tokens };
    return { planId: plan.id, tokens, logprobs, failures, runMs: ran - begin, sampleMs: performance.now() - ran };
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#launched = null;
    this.#parts.onDispose();
  }

  #runModel(rows: readonly PlanRow[]): void {
    if (rows.length === 0) return;
    const { decoder, buffers, kv, sampler } = this.#parts;
    // A row that fails leaves its slot as before the plan: positions from `start` on count as unused.
    for (const { blocks, start, ids } of rows) kv.willWrite(blocks[0] ?? 0, start, start + ids.length);
    decoder.run(rows, { buffers, kv, logits: sampler.logits, vocabSize: this.info.vocabSize });
    for (const { blocks, start, ids } of rows) kv.wrote(blocks[0] ?? 0, start + ids.length);
  }

  /** Every plan before this one is collected, so each placeholder's token is known. */
  #fillPlaceholders(plan: StepPlan): StepPlan {
    if (!plan.rows.some(({ ids }) => ids.includes(PLACEHOLDER))) return plan;
    const drawn = this.#last === null ? new Map<number, number>() : onlyDraws(this.#last);
    const rows = plan.rows.map((row) => {
      if (!row.ids.includes(PLACEHOLDER)) return row;
      const token = drawn.get(row.sequence);
      if (token === undefined)
        throw new PlanError(`plan ${plan.id}: the plan before drew no token for sequence ${row.sequence}`);
      return { ...row, ids: row.ids.map((id) => (id === PLACEHOLDER ? token : id)) };
    });
    return { ...plan, rows };
  }
}

/** Sequence → token of the rows that drew exactly one: which of a verified row's draws counts is not known here. */
function onlyDraws({ plan, tokens }: { plan: StepPlan; tokens: Int32Array }): ReadonlyMap<number, number> {
  const drawn = new Map<number, number>();
  let place = 0;
  for (const { sequence, draws } of plan.rows) {
    const token = tokens[place];
    if (draws === 1 && token !== undefined) drawn.set(sequence, token);
    place += draws;
  }
  return drawn;
}

/** One target for each draw of the row; a draw sees the drafts before it. */
function drawTargets({ ids, draws, sample }: PlanRow, row: number): readonly DrawTarget[] {
  if (sample === null) return [];
  const firstDraft = ids.length - draws + 1;
  return Array.from({ length: draws }, (_, draw) => {
    return { row, spec: sample, drafts: ids.subarray(firstDraft, firstDraft + draw) };
  });
}
