/**
 * The whole decoder as one graph in ONNX Runtime's CUDA kernels: packed tokens of any number of sequences through
 * PagedAttention over KV blocks, logits for the rows asked for. Knows no runs and no memory.
 */
import type { LayerAttention, ModelConfig } from '../config.ts';
import { afterLastLayer, beforeFirstLayer, betweenLayers } from '../graph/decoder.ts';
import type { DecoderParts, LayerInput, LayerOutput, LinearSpec } from '../graph/decoder.ts';
import { GraphBuilder, NONE } from '../graph/graph-builder.ts';
import type { Attribute, Value } from '../graph/graph-builder.ts';
import { rotaryTables } from '../graph/rotary.ts';
import { StandardParts } from '../graph/standard-parts.ts';
import type { Rope } from '../rope-config.ts';
import { ELEMENT_TYPES } from '../runtime/ort-api.ts';
import type { TensorView } from '../runtime/session.ts';
import type { QuantizedMatrix, Stack } from '../weight-store.ts';
import type { HalfType } from '../weights.ts';
import { dimensionOrder, widened } from './head-order.ts';
import { FEW_ROWS, MEDIUM_ROWS } from './kernel-choice.ts';

/** Number format of weights and activations. */
export type FloatType = HalfType;
/** Number format of keys and values in the cache. */
export type KvType = FloatType | 'float8e4m3fn' | 'int8';

export const isRounded = (kvType: KvType): boolean => kvType === 'float8e4m3fn' || kvType === 'int8';

/** Weights where the GPU reads them. */
export interface PagedWeights {
  /** [rows, columns], or [rows] when `columns` is 1. */
  matrix(stack: Stack): TensorView;
  /** [columns, rows] */
  transposed(stack: Stack): TensorView;
  /** The matrix rounded to fewer bits, scales in the format of the activations; null for those that are not. */
  quantized(stack: Stack): QuantizedMatrix | null;
  /** Computed values in the format of the weights; equal names are one tensor. */
  constant(name: string, shape: readonly number[], values: () => Float32Array): TensorView;
  /** float32 [1], of int8 [kvHeads, 1, headDim]: what a stored key or value is multiplied by when it is read. */
  kvScale(layer: number, kind: KvKind): TensorView;
}

export interface PagedGraphOptions {
  readonly config: ModelConfig;
  readonly type: FloatType;
  readonly kvType: KvType;
  /** Tokens of a KV block. */
  readonly blockSize: number;
  /** Length of the input `words`. */
  readonly words: number;
  /** Positions that the rotary tables cover. */
  readonly maxModelLen: number;
  /** Of the largest decode step: kernels are chosen that are best there. */
  readonly maxRows: number;
}

const GATE_GROUPS = [256, 128, 64, 32];

export interface PagedGraph {
  readonly model: Uint8Array;
  readonly initializers: ReadonlyMap<string, TensorView>;
}

export const KV_KINDS = ['key', 'value'] as const;
export type KvKind = (typeof KV_KINDS)[number];

/** Inputs and outputs that are a layer's cache; the output is to be bound to the input's memory. */
export const cacheInput = (kind: KvKind, layer: number): string => `${kind}_cache.${layer}`;
export const cacheOutput = (kind: KvKind, layer: number): string => `${kind}_cache_out.${layer}`;

/**
 * T = tokens, B = sequences, W = blocks of the longest, R = rows of logits. Inputs, int32: words [words]; index [T],
 * where in `words` each token id stands; cumulative [B + 1], tokens before each sequence; past [B], tokens already in
 * KV; block_table [B, W]; slots [T], where each token's key and value go (block × block size + offset), −1 = nowhere;
 * rows [R] into T; bounds [3] in host memory: the most tokens of a sequence, the longest total, 0. And the caches
 * [blocks, block size, kvHeads, headDim]. Outputs: logits float32 [R, V] and the caches.
 */
export function pagedGraph(options: PagedGraphOptions, weights: PagedWeights): PagedGraph {
  const { config } = options;
  const parts = new PagedParts(options, weights);
  parts.inputs();
  let at = beforeFirstLayer(config, parts);
  for (let layer = 0; layer + 1 < config.layers; layer++) {
    at = betweenLayers(config, parts, { ...parts.attend(at, layer), layer });
  }
  const { attended, residual } = parts.attend(at, config.layers - 1);
  // What follows the last attention is needed for few tokens of a prompt.
  const chosen = { attended: parts.select(attended), residual: parts.select(residual) };
  return parts.finish(afterLastLayer(config, parts, chosen));
}

class PagedParts extends StandardParts implements DecoderParts {
  readonly #options: PagedGraphOptions;
  readonly #weights: PagedWeights;
  /** Of the attention that comes next; its kernel does them beside the rotation. */
  #headNorms: { readonly query: Stack; readonly key: Stack } | null = null;

  constructor(options: PagedGraphOptions, weights: PagedWeights) {
    super(new GraphBuilder('paged'), options.config);
    this.#options = options;
    this.#weights = weights;
  }

  inputs(): void {
    const shapes = {
      words: [this.#options.words],
      index: ['T'],
      cumulative: ['B1'],
      past: ['B'],
      block_table: ['B', 'W'],
      slots: ['T'],
      rows: ['R'],
      bounds: [3],
    };
    for (const [name, shape] of Object.entries(shapes)) this.graph.input(name, 'int32', shape);
  }

  /** The attention of one layer. */
  attend({ qkv, residual }: LayerInput, layer: number): LayerOutput {
    const { kvType, blockSize } = this.#options;
    const { kvHeads, headDim } = this.config;
    const shape = ['blocks', blockSize, kvHeads, headDim];
    const caches = KV_KINDS.map((kind) => this.graph.input(cacheInput(kind, layer), kvType, shape));
    for (const kind of KV_KINDS) this.graph.output(cacheOutput(kind, layer), kvType, shape);
    const scales = KV_KINDS.map((kind) =>
      isRounded(kvType) ? this.external(`${kind}_scale.${layer}`, this.#weights.kvScale(layer, kind)) : NONE,
    );
    const norms = this.#headNorms;
    this.#headNorms = null;
    const gammas = norms === null ? [NONE, NONE] : [this.#matrix(norms.query), this.#matrix(norms.key)];
    const { rope } = attentionOf(this.config, layer);
    const packed = rope !== null && rope.dims < headDim ? this.#turnable(qkv, rope) : qkv;
    const lengths = ['cumulative', 'past', 'block_table'];
    const attended = this.graph.fresh();
    this.graph.node({
      op: 'PagedAttention',
      domain: 'com.microsoft',
      inputs: [
        packed,
        NONE,
        NONE,
        ...caches,
        ...lengths,
        ...this.#rotary(rope),
        'slots',
        NONE,
        ...gammas,
        ...scales,
        'bounds',
      ],
      attributes: this.#attentionAttributes(layer),
      outputs: [attended, ...KV_KINDS.map((kind) => cacheOutput(kind, layer))],
    });
    return { attended, residual };
  }

  override normHeads(packed: Value, gammas: { readonly query: Stack; readonly key: Stack }): Value {
    this.#headNorms = gammas;
    return packed;
  }

  /** Its sum with itself is normed: the same for four times the epsilon, by a kernel of 2 µs and not 7 (H100). */
  override norm(input: Value, gamma: Stack): Value {
    return this.graph.node({
      op: 'SkipSimplifiedLayerNormalization',
      domain: 'com.microsoft',
      inputs: [input, input, this.gain(gamma)],
      attributes: { epsilon: { float: 4 * this.config.normEpsilon } },
    });
  }

  /**
   * In one kernel: up × silu(gate) × scale ÷ √(mean(up²) + ε) over groups, where ε dwarfs the mean and the scale is its
   * root. The product is off by mean ÷ 2³¹, less than float16's rounding as long as up stays below 700. Of 14,336 columns
   * (H100) in groups of 256, for two kernels: 1.9 µs for 3.2 at 1 row, 2.7 for 3.6 at 16, but 6.5 for 5.6 at 64; with the
   * whole row as a group 8.3 for 5.6 at 64, 12.7 for 17.3 at 256, 63 for 72 at 1,024, 450 for 542 at 8,192.
   */
  override gatedSilu(gate: Value, up: Value): Value {
    const group = this.#gateGroup();
    if (group === null) return super.gatedSilu(gate, up);
    const scale = this.constant(`gate_scale.${group}`, [group], () => new Float32Array(group).fill(2 ** 15));
    return this.graph.node({
      op: 'GatedRMSNorm',
      domain: 'com.microsoft',
      inputs: [up, scale, gate],
      attributes: { epsilon: { float: 2 ** 30 } },
    });
  }

  /** Null: two kernels are faster. */
  #gateGroup(): number | null {
    const { intermediateSize } = this.config;
    const { maxRows } = this.#options;
    if (maxRows > MEDIUM_ROWS) return intermediateSize;
    if (maxRows > FEW_ROWS) return null;
    return GATE_GROUPS.find((size) => intermediateSize % size === 0) ?? null;
  }

  select(value: Value): Value {
    return this.graph.node({ op: 'Gather', inputs: [value, 'rows'] });
  }

  finish(logits: Value): PagedGraph {
    const attributes = { to: ELEMENT_TYPES.float32 };
    this.graph.node({ op: 'Cast', inputs: [logits], attributes, outputs: ['logits'] });
    this.graph.output('logits', 'float32', ['R', this.config.vocabSize]);
    return { model: this.graph.encode(), initializers: this.initializers };
  }

  embed(table: Stack): Value {
    const ids = this.graph.node({ op: 'Gather', inputs: ['words', 'index'] });
    return this.graph.node({ op: 'Gather', inputs: [this.#matrix(table), ids] });
  }

  linear(input: Value, { weight, bias }: LinearSpec): Value {
    const quantized = this.#weights.quantized(weight);
    const biases = bias === null ? [] : [this.#matrix(bias)];
    if (quantized === null) {
      // H100, 128,256 × 4,096: 350 µs for 370 to 390 at 1 to 64 rows. Of a layer's matrices some lose at some sizes.
      const isHead = weight.name === `${this.config.family.tensors.head}.weight`;
      const matrix = isHead ? this.#transposed(weight) : this.#matrix(weight);
      return this.graph.node({
        op: 'Gemm',
        inputs: [input, matrix, ...biases],
        attributes: { transB: isHead ? 0 : 1 },
      });
    }
    const { packed, scales, zeroPoints, bits, blockSize } = quantized;
    const grid = [
      this.external(`${weight.name}.codes`, packed),
      this.external(`${weight.name}.scales`, scales),
      ...(zeroPoints === null ? [] : [this.external(`${weight.name}.zero_points`, zeroPoints)]),
    ];
    const product = this.graph.node({
      op: 'MatMulNBits',
      domain: 'com.microsoft',
      inputs: [input, ...grid],
      attributes: { K: weight.columns, N: packed.shape[0] ?? 0, bits, block_size: blockSize },
    });
    return bias === null ? product : this.graph.node({ op: 'Add', inputs: [product, ...biases] });
  }

  protected gain(gamma: Stack): Value {
    return this.#matrix(gamma);
  }

  protected constant(name: string, shape: readonly number[], values: () => Float32Array): Value {
    return this.external(name, this.#weights.constant(name, shape, values));
  }

  /** The packed projection with the dimensions of queries and keys where a kernel that turns whole heads wants them. */
  #turnable(qkv: Value, rope: Rope): Value {
    const order = this.graph.int64('dimension_order', dimensionOrder(this.config, rope.dims));
    return this.graph.node({ op: 'Gather', inputs: [qkv, order], attributes: { axis: 1 } });
  }

  /** Cosines and sines [positions, headDim / 2]. */
  #rotary(rope: Rope | null): readonly Value[] {
    if (rope === null) return [NONE, NONE];
    const { maxModelLen } = this.#options;
    const kind = this.config.attention.findIndex((attention) => attention.rope === rope);
    return (['cos', 'sin'] as const).map((part) => {
      const name = `${part}.${kind}`;
      const half = this.config.headDim / 2;
      // What is not turned is turned by nothing.
      const values = () => widened(rotaryTables(rope, maxModelLen)[part], { from: rope.dims / 2, to: half, part });
      return this.constant(name, [maxModelLen, half], values);
    });
  }

  #attentionAttributes(layer: number): Record<string, Attribute> {
    const { heads, kvHeads, attentionScale, attentionSoftcap, normEpsilon } = this.config;
    const { window, rope } = attentionOf(this.config, layer);
    const { kvType } = this.#options;
    const granularity = kvType === 'int8' ? 'PER_CHANNEL' : 'PER_TENSOR';
    return {
      num_heads: heads,
      kv_num_heads: kvHeads,
      scale: { float: attentionScale },
      do_rotary: rope === null ? 0 : 1,
      rotary_interleaved: 0,
      qk_norm_epsilon: { float: normEpsilon },
      ...(window === null ? {} : { local_window_size: window }),
      ...(attentionSoftcap === null ? {} : { softcap: { float: attentionSoftcap } }),
      ...(isRounded(kvType) ? { k_quant_type: granularity, v_quant_type: granularity } : {}),
    };
  }

  #transposed(stack: Stack): Value {
    return this.external(`${stack.name}.transposed`, this.#weights.transposed(stack));
  }

  #matrix(stack: Stack): Value {
    return this.external(stack.name, this.#weights.matrix(stack));
  }
}

function attentionOf(config: ModelConfig, layer: number): LayerAttention {
  const attention = config.attention[layer];
  if (attention === undefined) throw new RangeError(`the model has no layer ${layer}`);
  return attention;
}
