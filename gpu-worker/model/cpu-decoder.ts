/**
 * The decoder as a chain of sessions, one before, between and after the attentions of its layers, so that tokens of all
 * rows share every matrix product while attention runs part by part. Knows no plan but its rows.
 */
import type { PlanRow } from '../engine/step-plan.ts';
import type { LayerAttention, ModelConfig } from './config.ts';
import { attentionGraph, firstGraph, KV_KINDS, lastGraph, middleGraph } from './graph/cpu-graph.ts';
import type { CpuGraph } from './graph/cpu-graph.ts';
import type { KvSlots } from './kv-slots.ts';
import type { PartTensors, RunBuffers, RunTensors } from './run-buffers.ts';
import { splitIntoParts } from './runs.ts';
import { Session } from './runtime/session.ts';
import type { Binding, Tensor, TensorView } from './runtime/session.ts';
import type { Scheme } from './quantize/scheme.ts';
import { WeightPlan } from './weight-plan.ts';
import type { WeightLayout } from './weight-plan.ts';
import type { WeightStore } from './weight-store.ts';

/** Parts whose bindings are kept from step to step; further parts take turns with them. */
const KEPT_PARTS = 8;

interface Part extends PartTensors {
  /** Keys and values of layer 0, of layer 1, … */
  readonly kv: readonly Tensor[];
}

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
  /** [layers]: layers of one kind share a session. */
  readonly #attention: readonly Session[];
  /** [KEPT_PARTS × layers], made when first needed. */
  readonly #attentions: Binding[] = [];
  readonly #release: readonly (() => void)[];

  /** The store must live longer. */
  constructor(config: ModelConfig, store: WeightStore, capacity: number) {
    this.#layers = config.layers;
    const sessions: Session[] = [];
    const open = ({ model, initializers }: CpuGraph): Session => {
      const session = new Session(model, { threads: 'shared', initializers });
      sessions.push(session);
      return session;
    };
    try {
      const stages = stageGraphs(config, store).map((graph) => open(graph()));
      const kinds = new Map<LayerAttention, Session>();
      this.#attention = config.attention.map((kind) => {
        const session = kinds.get(kind) ?? open(attentionGraph(config, store, { kind, capacity }));
        kinds.set(kind, session);
        return session;
      });
      this.#stages = stages.map((session) => session.bind());
    } catch (error) {
      for (const session of sessions) session.release();
      throw error;
    }
    this.#release = sessions.map((session) => () => session.release());
  }

  /** Extends the rows' KV and writes their logits [R, V], in the order of `rows`, to `logits`. */
  run(rows: readonly PlanRow[], on: { buffers: RunBuffers; kv: KvSlots; logits: bigint; vocabSize: number }): void {
    const { buffers, kv } = on;
    const runParts = splitIntoParts(rows);
    buffers.fill(runParts, rows);
    let firstRow = 0;
    const parts = runParts.map((part, index): Part => {
      const tensors = buffers.partTensors(part, index, firstRow);
      firstRow += part.rows.length;
      return { ...tensors, kv: kv.tensors(part.first, part.rows.length) };
    });
    const logits: TensorView = { pointer: on.logits, type: 'float32', shape: [buffers.rowCount, on.vocabSize] };
    const tensors = buffers.tensors();
    this.#stages.forEach((stage, index) => {
      this.#bindStage(stage, index, tensors);
      if (index === this.#layers) stage.output('logits', logits);
      stage.run();
      if (index < this.#layers) parts.forEach((part, at) => this.#attend(part, at, index));
    });
  }

  release(): void {
    for (const binding of [...this.#stages, ...this.#attentions]) binding?.release();
    for (const release of this.#release) release();
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

  #attend(part: Part, at: number, layer: number): void {
    const index = (at % KEPT_PARTS) * this.#layers + layer;
    const session = this.#attention[layer];
    if (session === undefined) throw new RangeError(`no attention for layer ${layer}`);
    const binding = (this.#attentions[index] ??= session.bind());
    binding.lendInput('qkv', part.qkv);
    binding.lendInput('seqlens_k', part.seqlens);
    binding.lendInput('total_length', part.total);
    binding.lendOutput('attended', part.attended);
    KV_KINDS.forEach((kind, offset) => {
      const tensor = part.kv[2 * layer + offset];
      if (tensor === undefined) throw new RangeError(`${part.kv.length} KV tensors, none for layer ${layer}`);
      binding.lendInput(`past_${kind}`, tensor);
      binding.lendOutput(`present_${kind}`, tensor);
    });
    binding.run();
  }
}
