/** Runs step plans on the CPU, one at a time: KV moves, model runs, draws. Knows no scheduling and no file format. */
import { NO_TOKEN, PLACEHOLDER } from '../engine/step-plan.ts';
import type { PlanRow, StepPlan, StepResult } from '../engine/step-plan.ts';
import type { ModelRunner, RunnerInfo } from '../engine/runner.ts';
import type { KvSlots } from './kv-slots.ts';
import { checkPlan, PlanError } from './plan-check.ts';
import { splitIntoRuns } from './runs.ts';
import type { ModelRun } from './runs.ts';
import { Memory } from './runtime/memory.ts';
import type { Binding, Session } from './runtime/session.ts';
import type { DrawTarget, Sampler } from './sampler.ts';

/** Bindings kept, one for each range of slots that ran lately. */
const MAX_BINDINGS = 128;

export interface CpuRunnerParts {
  readonly info: RunnerInfo;
  readonly session: Session;
  readonly kv: KvSlots;
  readonly sampler: Sampler;
  readonly maxStepTokens: number;
  /** Frees what the caller made for the session, after the session. */
  readonly onDispose: () => void;
}

export class CpuRunner implements ModelRunner {
  readonly info: RunnerInfo;
  readonly depth = 1;
  readonly #parts: CpuRunnerParts;
  readonly #inputs: RunInputs;
  readonly #bindings = new Map<string, Binding>();
  #launched: StepPlan | null = null;
  /** Sequence → token, of the last collected plan: what placeholders stand for. */
  #drawn = new Map<number, number>();
  #disposed = false;

  constructor(parts: CpuRunnerParts) {
    this.info = parts.info;
    this.#parts = parts;
    this.#inputs = new RunInputs(Math.max(parts.maxStepTokens, parts.info.slots), parts.info.slots);
  }

  launch(plan: StepPlan): void {
    if (this.#disposed) throw new PlanError(`plan ${plan.id} launched on a runner that is disposed of`);
    if (this.#launched !== null)
      throw new PlanError(`plan ${plan.id} launched while ${this.#launched.id} is not collected`);
    const { slots, maxModelLen, vocabSize } = this.info;
    const used = Array.from({ length: slots }, (_, slot) => this.#parts.kv.used(slot));
    checkPlan(plan, { slots, maxModelLen, vocabSize, maxStepTokens: this.#parts.maxStepTokens }, used);
    this.#launched = fillPlaceholders(plan, this.#drawn);
    this.#drawn = new Map();
  }

  collect(): StepResult {
    const plan = this.#launched;
    if (plan === null) throw new PlanError('collect without a launched plan');
    this.#launched = null;
    const { kv, sampler } = this.#parts;
    const begin = performance.now();
    for (const move of plan.moves) kv.move(move);
    const targets = this.#runModel(plan);
    const ran = performance.now();
    const drawn = sampler.sample(targets);
    const tokens = new Int32Array(plan.rows.length).fill(NO_TOKEN);
    targets.forEach(({ index }, i) => (tokens[index] = drawn[i] ?? NO_TOKEN));
    this.#drawn = new Map(plan.rows.map((row, index) => [row.sequence, tokens[index] ?? NO_TOKEN]));
    return { planId: plan.id, tokens, runMs: ran - begin, sampleMs: performance.now() - ran };
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#launched = null;
    for (const binding of this.#bindings.values()) binding.release();
    this.#parts.session.release();
    this.#parts.sampler.free();
    this.#parts.kv.free();
    this.#inputs.free();
    this.#parts.onDispose();
  }

  /** Returns the rows to draw for, in the order of their logits. */
  #runModel(plan: StepPlan): readonly DrawTarget[] {
    const targets: DrawTarget[] = [];
    // A row that fails leaves its slot as before the plan: positions from `start` on count as unused.
    for (const { slot, start } of plan.rows) this.#parts.kv.setUsed(slot, start);
    for (const run of splitIntoRuns(plan.rows)) {
      const specs = run.rows.map((index) => (index === null ? null : (plan.rows[index]?.sample ?? null)));
      const firstLogits = targets.length;
      this.#inputs.clearRows();
      run.rows.forEach((index, at) => {
        const spec = specs[at];
        if (index === null || spec === null || spec === undefined) return;
        targets.push({ index, spec });
        this.#inputs.addRow((at + 1) * run.length - 1);
      });
      this.#runOnce(run, plan.rows, firstLogits);
    }
    for (const { slot, start, ids } of plan.rows) this.#parts.kv.setUsed(slot, start + ids.length);
    return targets;
  }

  #runOnce(run: ModelRun, rows: readonly PlanRow[], firstLogits: number): void {
    const { sampler } = this.#parts;
    const inputs = this.#inputs;
    let longest = 0;
    run.rows.forEach((index, at) => {
      const row = index === null ? undefined : rows[index];
      const start = row?.start ?? this.#parts.kv.used(run.first + at);
      const total = start + run.length;
      inputs.seqlens[at] = total - 1;
      longest = Math.max(longest, total);
      for (let i = 0; i < run.length; i++) inputs.ids[at * run.length + i] = BigInt(row?.ids[i] ?? 0);
    });
    inputs.total[0] = longest;
    const binding = this.#bindingFor(run.first, run.rows.length);
    inputs.bind(binding, run);
    const { vocabSize } = this.info;
    const logits = sampler.logits.pointer + BigInt(firstLogits * vocabSize * 4);
    binding.output('logits', { pointer: logits, type: 'float32', shape: [inputs.rowCount, vocabSize] });
    binding.run();
  }

  /** The least recently used binding makes room. */
  #bindingFor(first: number, count: number): Binding {
    const key = `${first}:${count}`;
    let binding = this.#bindings.get(key);
    this.#bindings.delete(key);
    if (binding === undefined) {
      binding = this.#parts.session.bind();
      for (const { name, view } of this.#parts.kv.views(first, count)) {
        binding.input(`past_${name}`, view);
        binding.output(`present_${name}`, view);
      }
    }
    this.#bindings.set(key, binding);
    const [oldest] = this.#bindings;
    if (oldest !== undefined && this.#bindings.size > MAX_BINDINGS) {
      oldest[1].release();
      this.#bindings.delete(oldest[0]);
    }
    return binding;
  }
}

/** Every plan before this one is collected, so each placeholder's token is known. */
function fillPlaceholders(plan: StepPlan, drawn: ReadonlyMap<number, number>): StepPlan {
  const rows = plan.rows.map((row) => {
    if (!row.ids.includes(PLACEHOLDER)) return row;
    const token = drawn.get(row.sequence) ?? NO_TOKEN;
    if (token === NO_TOKEN)
      throw new PlanError(`plan ${plan.id}: the plan before drew no token for sequence ${row.sequence}`);
    return { ...row, ids: row.ids.map((id) => (id === PLACEHOLDER ? token : id)) };
  });
  return { ...plan, rows };
}

/** The small inputs of one run, in mapped memory that every binding points to. */
class RunInputs {
  readonly ids: BigInt64Array;
  readonly seqlens: Int32Array;
  readonly total: Int32Array;
  rowCount = 0;
  readonly #rows: BigInt64Array;
  readonly #memory: { readonly ids: Memory; readonly seqlens: Memory; readonly total: Memory; readonly rows: Memory };

  constructor(maxTokens: number, maxRows: number) {
    const memory = {
      ids: Memory.allocate(maxTokens * 8),
      seqlens: Memory.allocate(maxRows * 4),
      total: Memory.allocate(4),
      rows: Memory.allocate(maxRows * 8),
    };
    this.#memory = memory;
    this.ids = new BigInt64Array(memory.ids.buffer);
    this.seqlens = new Int32Array(memory.seqlens.buffer);
    this.total = new Int32Array(memory.total.buffer);
    this.#rows = new BigInt64Array(memory.rows.buffer);
  }

  clearRows(): void {
    this.rowCount = 0;
  }

  /** Asks for the logits of this token of the flattened run. */
  addRow(token: number): void {
    this.#rows[this.rowCount++] = BigInt(token);
  }

  bind(binding: Binding, run: ModelRun): void {
    const { ids, seqlens, total, rows } = this.#memory;
    const batch = run.rows.length;
    binding.input('ids', { pointer: ids.pointer, type: 'int64', shape: [batch, run.length] });
    binding.input('seqlens_k', { pointer: seqlens.pointer, type: 'int32', shape: [batch] });
    binding.input('total_length', { pointer: total.pointer, type: 'int32', shape: [1] });
    binding.input('rows', { pointer: rows.pointer, type: 'int64', shape: [this.rowCount] });
  }

  free(): void {
    for (const memory of Object.values(this.#memory)) memory.free();
  }
}
