/** Runs step plans on a GPU, two at a time: inputs, copies, model and draws are queued, and read back when collected. Knows no scheduling and no file format. */
import type { ModelRunner, RunnerInfo } from '../../engine/runner.ts';
import type { PlanRow, SampleSpec, StepPlan, StepResult } from '../../engine/step-plan.ts';
import { truncates } from '../../sample/keyed.ts';
import type { RandomSource } from '../../sample/random.ts';
import { PlanError } from '../plan-check.ts';
import type { Cuda } from '../runtime/cudart.ts';
import { bucketFor } from './buckets.ts';
import type { Bucket, BucketLimits } from './buckets.ts';
import type { DeviceDraw } from './device-draw.ts';
import type { DrawKind } from './draw-graphs.ts';
import { packDraws } from './draw-inputs.ts';
import { ruledRows } from './device-rules.ts';
import type { DeviceRules, StepRules } from './device-rules.ts';
import type { GraphMemory } from './graph-memory.ts';
import type { HostDraw, HostDraws } from './host-draw.ts';
import type { KvBlocks } from './kv-blocks.ts';
import { checkPagedPlan } from './paged-plan-check.ts';
import type { PagedDecoder } from './paged-decoder.ts';
import { drawPlaces, layoutOf, ownShape, packPart, splitIntoParts } from './plan-inputs.ts';
import type { Part, PartLayout, PartLimits, PartShape } from './plan-inputs.ts';
import { fitsGraph } from './rules-inputs.ts';
import type { StepMemory, StepSlot } from './step-memory.ts';

export interface CudaRunnerParts {
  readonly info: RunnerInfo;
  readonly cuda: Cuda;
  readonly memory: StepMemory;
  readonly decoder: PagedDecoder;
  readonly draw: DeviceDraw;
  readonly rules: DeviceRules;
  readonly hostDraw: HostDraw;
  readonly kv: KvBlocks;
  readonly partLimits: PartLimits;
  /** Of decode steps, which run as CUDA graphs while there is memory for these. */
  readonly buckets: BucketLimits;
  readonly graphs: GraphMemory;
  readonly random: RandomSource;
  /** Frees everything above. */
  readonly onDispose: () => void;
}

/**
 * Draws of more rows are queued kernel by kernel, in less time than the model takes: a graph would keep 1 MB of GPU
 * memory a row (V = 128,256).
 */
const MAX_CAPTURED_DRAWS = 64;

/** A part with where its inputs lie. */
interface PlacedPart {
  readonly part: Part;
  readonly bucket: Bucket | null;
  readonly shape: PartShape;
  readonly layout: PartLayout;
  /** Place of its first draw. */
  readonly first: number;
}

interface LaunchedStep {
  readonly plan: StepPlan;
  readonly slot: StepSlot;
  readonly order: Int32Array;
  readonly bySequence: ReadonlyMap<number, number>;
  /** Draws that the host made; null when the GPU made them all. */
  readonly host: HostDraws | null;
}

/** A row that the GPU draws for by itself. */
function drawsOnDevice({ temperature, seed, rules, logprobs, ...truncation }: SampleSpec, draws: number): boolean {
  if (logprobs !== null) return false;
  // Drafts count as output of the draws behind them, which the graph knows nothing of.
  if (rules !== null && (draws > 1 || !fitsGraph(rules))) return false;
  return temperature === 0 || (seed === null && !truncates(truncation));
}

const NO_DRAWS: ReadonlyMap<number, number> = new Map();

export class CudaRunner implements ModelRunner {
  readonly info: RunnerInfo;
  readonly depth = 2;
  lost: string | null = null;
  readonly #parts: CudaRunnerParts;
  readonly #launched: LaunchedStep[] = [];
  /** The plan launched last, collected or not: what placeholders stand for. */
  #previous: LaunchedStep | null = null;
  #turn = 0;
  #disposed = false;

  constructor(parts: CudaRunnerParts) {
    this.info = parts.info;
    this.#parts = parts;
  }

  launch(plan: StepPlan): void {
    if (this.#disposed) throw new PlanError(`plan ${plan.id} launched on a runner that is disposed of`);
    if (this.#launched.length >= this.depth) throw new PlanError(`plan ${plan.id} is the third in flight`);
    const { kv, maxNumSeqs, maxModelLen, maxStepTokens, vocabSize } = this.info;
    try {
      checkPagedPlan(plan, { ...kv, maxNumSeqs, maxModelLen, maxStepTokens, vocabSize });
      const step = this.#launch(plan);
      this.#launched.push(step);
      this.#previous = step;
    } catch (error) {
      this.#void();
      throw error;
    }
  }

  collect(): StepResult {
    const step = this.#launched.shift();
    if (step === undefined) throw new PlanError('collect without a launched plan');
    try {
      step.slot.done.wait();
    } catch (error) {
      this.#void();
      throw error;
    }
    const { plan, slot, order, host } = step;
    // The model's, without what the host drew meanwhile.
    const runMs = Math.max(0, slot.done.since(slot.begun) - (host?.ms ?? 0));
    const tokens = new Int32Array(order.length);
    const failures = new Map<number, string>(host?.failures);
    order.forEach((place, at) => (tokens[place] = slot.tokens[at] ?? 0));
    if (host === null) addFailures(plan.rows, { order, checks: slot.checks }, failures);
    const logprobs = host?.logprobs ?? null;
    return { planId: plan.id, tokens, logprobs, failures, runMs, sampleMs: host?.ms ?? 0 };
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#void();
    this.#parts.onDispose();
  }

  #launch(plan: StepPlan): LaunchedStep {
    const { memory, kv } = this.#parts;
    const slot = memory.slots[this.#turn++ % memory.slots.length];
    if (slot === undefined) throw new PlanError('no memory for a step');
    const parts = this.#place(plan.rows);
    const { order, bySequence } = drawPlaces(
      plan.rows,
      parts.map(({ part }) => part),
    );
    const words = this.#pack(plan.rows, parts, slot);
    const rules = this.#packRules(plan.rows, parts, slot);
    slot.begun.record();
    for (const copy of plan.copies) kv.copy(copy);
    memory.send(slot, words);
    memory.sendRules(slot, rules?.words ?? 0);
    const host = rules === null ? this.#parts.hostDraw.begin(order.length) : null;
    parts.forEach((placed, i) => {
      this.#runModel(placed);
      if (placed.part.draws === 0) return;
      if (host !== null) return this.#drawOnHost({ rows: plan.rows, slot, order }, placed, host);
      this.#parts.rules.apply(rules?.parts[i] ?? []);
      this.#drawOnDevice(plan.rows, placed);
    });
    if (host === null) memory.receive(slot, order.length);
    slot.done.record();
    return { plan, slot, order, bySequence, host };
  }

  #place(rows: readonly PlanRow[]): readonly PlacedPart[] {
    const { partLimits } = this.#parts;
    let [base, first] = [0, 0];
    return splitIntoParts(rows, partLimits).map((part, index) => {
      const bucket = index === 0 ? this.#bucketOf(part) : null;
      const shape = bucket === null ? ownShape(part) : shapeOf(bucket);
      const placed = { part, bucket, shape, layout: layoutOf(shape, base), first };
      base = placed.layout.end;
      first += part.draws;
      return placed;
    });
  }

  #bucketOf(part: Part): Bucket | null {
    const { buckets, graphs } = this.#parts;
    const bucket = part.decode ? bucketFor(part.rows.length, part.width, buckets) : null;
    return bucket !== null && graphs.has(graphKey('model', bucket)) ? bucket : null;
  }

  /** Returns the words used. */
  #pack(rows: readonly PlanRow[], parts: readonly PlacedPart[], slot: StepSlot): number {
    const { partLimits, memory, random } = this.#parts;
    const previous = this.#previous?.bySequence ?? NO_DRAWS;
    const context = { blockSize: partLimits.blockSize, drawn: memory.sizes.maxDraws, previous };
    for (const { part, shape, layout } of parts) {
      packPart(rows, part, { words: slot.words, layout, shape, ...context });
      packDraws(rows, part, { floats: slot.floats, layout, shape, random });
    }
    return parts.at(-1)?.layout.end ?? 0;
  }

  /** Null when the host must draw: for a row of its kind, or because rules are more than there is room for. */
  #packRules(rows: readonly PlanRow[], parts: readonly PlacedPart[], slot: StepSlot): StepRules | null {
    if (rows.some(({ sample, draws }) => sample !== null && !drawsOnDevice(sample, draws))) return null;
    const previous = this.#previous?.bySequence ?? NO_DRAWS;
    return this.#parts.rules.pack(
      slot,
      parts.map(({ part }) => ruledRows(rows, part, previous)),
    );
  }

  #runModel({ part, bucket, shape, layout }: PlacedPart): void {
    const { decoder, buckets, graphs, partLimits } = this.#parts;
    if (bucket === null) return decoder.run(shape, layout, part);
    const bounds = { longestRow: 1, longestTotal: bucket.width * partLimits.blockSize };
    graphs.run(graphKey('model', bucket), () => decoder.replay(bucket, buckets, { shape, layout, bounds }));
  }

  #drawOnDevice(rows: readonly PlanRow[], { part, bucket, layout, shape, first }: PlacedPart): void {
    const { draw, graphs } = this.#parts;
    const kind = drawKindOf(part.rows.flatMap((place) => rows[place]?.sample ?? []));
    const key = bucket === null || bucket.rows > MAX_CAPTURED_DRAWS ? null : graphKey(kind, bucket);
    if (key === null || !graphs.has(key)) return draw.run(kind, layout, { first, count: part.draws });
    graphs.run(key, () => draw.replay(kind, key, { layout, count: shape.logits }));
  }

  #drawOnHost(
    step: { rows: readonly PlanRow[]; slot: StepSlot; order: Int32Array },
    placed: PlacedPart,
    host: HostDraws,
  ): void {
    const { memory, hostDraw } = this.#parts;
    const { part, first } = placed;
    const tokenOf = (sequence: number): number | null => this.#previousToken(sequence);
    hostDraw.draw(host, { rows: step.rows, part, order: step.order.subarray(first, first + part.draws), tokenOf });
    for (let i = first; i < first + part.draws; i++) step.slot.tokens[i] = host.tokens[step.order[i] ?? 0] ?? 0;
    memory.sendTokens(step.slot, first, part.draws);
  }

  /** What the previous plan drew for a sequence. */
  #previousToken(sequence: number): number | null {
    const place = this.#previous?.bySequence.get(sequence);
    if (this.#previous === null || place === undefined) return null;
    this.#previous.slot.done.wait();
    return this.#previous.slot.tokens[place] ?? null;
  }

  /** Nothing launched counts any more; the next plan starts afresh. */
  #void(): void {
    this.#launched.length = 0;
    this.#previous = null;
    try {
      this.#parts.cuda.synchronize();
    } catch (error) {
      // An error of the device itself stays: every later call gives it again.
      this.lost = error instanceof Error ? error.message : String(error);
    }
  }
}

function drawKindOf(samples: readonly SampleSpec[]): DrawKind {
  if (samples.every(({ temperature }) => temperature === 0)) return 'greedy';
  return samples.some(({ temperature, rules }) => temperature === 0 || rules !== null) ? 'mixed' : 'sampled';
}

function graphKey(of: DrawKind | 'model', { rows, width }: Bucket): string {
  return `${of} ${rows}x${width}`;
}

function shapeOf({ rows, width }: Bucket): PartShape {
  return { tokens: rows, sequences: rows, width, logits: rows };
}

function addFailures(
  rows: readonly PlanRow[],
  { order, checks }: { readonly order: Int32Array; readonly checks: Float32Array },
  failures: Map<number, string>,
): void {
  const bad = new Map<number, number>();
  order.forEach((place, at) => {
    const check = checks[at] ?? NaN;
    if (!Number.isFinite(check)) bad.set(place, check);
  });
  if (bad.size === 0) return;
  let place = 0;
  rows.forEach(({ draws, sample }, row) => {
    for (let i = 0; i < draws; i++, place++) {
      const check = bad.get(place);
      if (check === undefined) continue;
      const forbidden = (sample?.rules ?? null) !== null && check === -Infinity;
      failures.set(row, forbidden ? 'rules forbid every token' : 'the model gave logits that are not finite');
    }
  });
}
