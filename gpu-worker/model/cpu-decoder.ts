/**
 * The decoder as a chain of sessions, one before, between and after the attentions of its layers, so that tokens of all
 * rows share every matrix product while attention runs part by part. Knows no plan but its rows.
 */
import type { PlanRow } from '../engine/step-plan.ts';
import type { ModelConfig } from './config.ts';
import { CpuAttention } from './cpu-attention.ts';
import type { AttendedPart, CpuAttentionOptions } from './cpu-attention.ts';
import { firstGraph, lastGraph, middleGraph } from './graph/cpu-graph.ts';
import type { CpuGraph } from './graph/cpu-graph.ts';
import type { KvSlots } from './kv-slots.ts';
import type { RunBuffers, RunTensors } from './run-buffers.ts';
import { splitIntoParts } from './runs.ts';
import { Session } from './runtime/session.ts';
import type { Binding, TensorView } from './runtime/session.ts';
import type { Scheme } from './quantize/scheme.ts';
import { WeightPlan } from './weight-plan.ts';
import type { WeightLayout } from './weight-plan.ts';
import type { WeightStore } from './weight-store.ts';

/** The weights that the decoder of this model takes, and where each will lie. */
export function planWeights(config: ModelConfig, scheme: Scheme | null): WeightLayout {
  const plan = new WeightPlan(scheme);
  // Attention has no weights but tables that are computed.
  for (const graph of stageGraphs(config, plan)) graph();
  return plan.layout;
}

/** In the order of their runs; stage i comes before the attention of layer i. */
function stageGraphs(config: ModelConfig, store: WeightStore): readonly (() => CpuGraph)[] {
  const middle = Array.from({ length: config.layers - 1 }, (_, layer) => () => middleGraph(config, store, layer));
  return [() => firstGraph(config, store), ...middle, () => lastGraph(config, store)];
}

export class CpuDecoder {
  readonly #layers: number;
  readonly #stages: readonly Binding[];
  readonly #attention: CpuAttention;
  readonly #sessions: readonly Session[];

  /** The store must live longer. */
  constructor(config: ModelConfig, store: WeightStore, attention: CpuAttentionOptions) {
    this.#layers = config.layers;
    const sessions: Session[] = [];
    this.#sessions = sessions;
    try {
      for (const graph of stageGraphs(config, store)) {
        const { model, initializers } = graph();
        sessions.push(new Session(model, { threads: 'shared', initializers }));
      }
      this.#attention = new CpuAttention(config, store, attention);
      this.#stages = sessions.map((session) => session.bind());
    } catch (error) {
      for (const session of sessions) session.release();
      throw error;
    }
  }

  /** Extends the rows' KV and writes their logits [R, V], in the order of `rows`, to `logits`. */
  run(rows: readonly PlanRow[], on: { buffers: RunBuffers; kv: KvSlots; logits: bigint; vocabSize: number }): void {
    const { buffers, kv } = on;
    const runParts = splitIntoParts(rows);
    buffers.fill(runParts, rows);
    let firstRow = 0;
    const parts = runParts.map((part, index): AttendedPart => {
      const tensors = buffers.partTensors(part, index, firstRow);
      firstRow += part.rows.length;
      const { start = 0 } = rows[part.rows[0] ?? 0] ?? {};
      return {
        ...tensors,
        slot: part.first,
        length: part.length,
        start,
        cache: kv.tensors(part.first, part.rows.length),
      };
    });
    const logits: TensorView = { pointer: on.logits, type: 'float32', shape: [buffers.rowCount, on.vocabSize] };
    const tensors = buffers.tensors();
    this.#stages.forEach((stage, index) => {
      this.#bindStage(stage, index, tensors);
      if (index === this.#layers) stage.output('logits', logits);
      stage.run();
      if (index < this.#layers) parts.forEach((part, at) => this.#attention.attend(part, kv, { at, layer: index }));
    });
  }

  release(): void {
    for (const binding of this.#stages) binding.release();
    this.#attention.release();
    for (const session of this.#sessions) session.release();
  }

  #bindStage(stage: Binding, index: number, tensors: RunTensors): void {
    const { ids, rows, qkv, attended, residual } = tensors;
    if (index === 0) {
      stage.lendInput('ids', ids);
    } else {
      stage.lendInput('attended', attended);
      stage.lendInput('residual_in', residual);
    }
    if (index === this.#layers) {
      stage.lendInput('rows', rows);
    } else {
      stage.lendOutput('qkv', qkv);
      stage.lendOutput('residual', residual);
    }
  }
}
