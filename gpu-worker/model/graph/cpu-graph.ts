/** The decoder's stages in ONNX Runtime's CPU kernels: GroupQueryAttention over KV slots, Gemm or MatMulNBits. Knows no runs. */
import type { LayerAttention, ModelConfig } from '../config.ts';
import type { TensorView } from '../runtime/session.ts';
import type { QuantizedMatrix, Stack, WeightStore } from '../weight-store.ts';
import { afterLastLayer, beforeFirstLayer, betweenLayers, packedColumns } from './decoder.ts';
import type { DecoderParts, LayerInput, LayerOutput, LinearSpec } from './decoder.ts';
import { GraphBuilder, NONE } from './graph-builder.ts';
import type { Value } from './graph-builder.ts';
import type { Attribute } from './graph-builder.ts';
import { rotaryTables } from './rotary.ts';
import { StandardParts } from './standard-parts.ts';
import type { Rope } from '../rope-config.ts';

/** Without level 4 (int8 activations) MatMulNBits is many times slower. */
const INT8_ACTIVATIONS = 4;

export interface CpuGraph {
  readonly model: Uint8Array;
  readonly initializers: ReadonlyMap<string, TensorView>;
}

/** T = tokens of the run. Inputs: ids int64 [T]. Outputs: qkv float32 [T, packed columns], residual float32 [T, H]. */
export function firstGraph(config: ModelConfig, store: WeightStore): CpuGraph {
  const parts = new CpuParts('first', config, store);
  parts.graph.input('ids', 'int64', ['T']);
  parts.giveLayerInput(beforeFirstLayer(config, parts));
  return parts.encode();
}

/**
 * Between the attentions of `layer` and the next. Inputs: attended float32 [T, heads × headDim], residual_in float32
 * [T, H]. Outputs: as of the first graph; residual may be the memory of residual_in.
 */
export function middleGraph(config: ModelConfig, store: WeightStore, layer: number): CpuGraph {
  const parts = new CpuParts(`layer.${layer}`, config, store);
  parts.giveLayerInput(betweenLayers(config, parts, { ...parts.takeLayerOutput(), layer }));
  return parts.encode();
}

/**
 * After the last attention, for the rows that logits are wanted for. Inputs: attended and residual_in as above; rows
 * int64 [R] into the T tokens. Outputs: logits float32 [R, V].
 */
export function lastGraph(config: ModelConfig, store: WeightStore): CpuGraph {
  const parts = new CpuParts('last', config, store);
  const { attended, residual } = parts.takeLayerOutput();
  parts.graph.input('rows', 'int64', ['R']);
  const select = (value: Value): Value => parts.graph.node({ op: 'Gather', inputs: [value, 'rows'] });
  const logits = afterLastLayer(config, parts, { attended: select(attended), residual: select(residual) });
  parts.give(logits, 'logits', ['R', config.vocabSize]);
  return parts.encode();
}

/** Number format of keys and values in the cache. */
export type CpuKvType = 'float32' | 'int8';

/** What a stored key or value is multiplied by when it is read, by channel; an input, as layers share a graph. */
export const scaleInput = (kind: KvKind): string => `${kind}_scale`;

export interface AttentionGraphOptions {
  readonly kind: LayerAttention;
  /** Positions of a slot. */
  readonly capacity: number;
  readonly kvType: CpuKvType;
}

/**
 * The attention of layers of one kind over B sequences with S tokens each: B is 1, or S is 1. Inputs: qkv float32 [B, S, packed
 * columns]; seqlens_k int32 [B], total tokens of each sequence − 1; total_length int32 [1], the largest total; past_key
 * and past_value [B, kvHeads, capacity, headDim] in the cache's format; for int8 key_scale and value_scale float32
 * [1, kvHeads, 1, headDim]. Outputs: attended float32 [B, S, heads × headDim]; present_key and present_value, to be bound
 * to the memory of their past.
 */
export function attentionGraph(
  config: ModelConfig,
  store: WeightStore,
  { kind, capacity, kvType }: AttentionGraphOptions,
): CpuGraph {
  const { heads, kvHeads, headDim } = config;
  const parts = new CpuParts('attention', config, store);
  const { graph } = parts;
  graph.input('qkv', 'float32', ['B', 'S', packedColumns(config)]);
  graph.input('seqlens_k', 'int32', ['B']);
  graph.input('total_length', 'int32', [1]);
  graph.output('attended', 'float32', ['B', 'S', heads * headDim]);
  const past = KV_KINDS.map((each) => graph.input(`past_${each}`, kvType, ['B', kvHeads, capacity, headDim]));
  const present = KV_KINDS.map((each) => `present_${each}`);
  for (const name of present) graph.output(name, kvType, ['B', kvHeads, capacity, headDim]);
  const rotary = kind.rope === null ? [NONE, NONE] : parts.rotaryTables(kind.rope, capacity);
  // Position ids, an attention bias and sinks come between.
  const scales =
    kvType === 'float32'
      ? []
      : [
          NONE,
          NONE,
          NONE,
          ...KV_KINDS.map((each) => graph.input(scaleInput(each), 'float32', [1, kvHeads, 1, headDim])),
        ];
  graph.node({
    op: 'GroupQueryAttention',
    domain: 'com.microsoft',
    inputs: ['qkv', NONE, NONE, ...past, 'seqlens_k', 'total_length', ...rotary, ...scales],
    attributes: { ...attentionAttributes(config, kind), ...(kvType === 'float32' ? {} : INT8_CACHE) },
    outputs: ['attended', ...present],
  });
  return parts.encode();
}

export const KV_KINDS = ['key', 'value'] as const;
export type KvKind = (typeof KV_KINDS)[number];

/** A scale for each channel of each head: keys have channels many times larger than others. */
const INT8_CACHE = { k_quant_type: 'PER_CHANNEL', v_quant_type: 'PER_CHANNEL', kv_cache_bit_width: 8 };

function attentionAttributes(config: ModelConfig, { window, rope }: LayerAttention): Record<string, Attribute> {
  const { heads, kvHeads, attentionScale, attentionSoftcap } = config;
  return {
    num_heads: heads,
    kv_num_heads: kvHeads,
    scale: { float: attentionScale },
    do_rotary: rope === null ? 0 : 1,
    rotary_interleaved: 0,
    ...(window === null ? {} : { local_window_size: window }),
    ...(attentionSoftcap === null ? {} : { softcap: { float: attentionSoftcap } }),
  };
}

class CpuParts extends StandardParts implements DecoderParts {
  readonly #store: WeightStore;

  constructor(name: string, config: ModelConfig, store: WeightStore) {
    super(new GraphBuilder(name), config);
    this.#store = store;
  }

  takeLayerOutput(): LayerOutput {
    const { heads, headDim, hiddenSize } = this.config;
    return {
      attended: this.graph.input('attended', 'float32', ['T', heads * headDim]),
      residual: this.graph.input('residual_in', 'float32', ['T', hiddenSize]),
    };
  }

  giveLayerInput({ qkv, residual }: LayerInput): void {
    this.give(qkv, 'qkv', ['T', packedColumns(this.config)]);
    this.give(residual, 'residual', ['T', this.config.hiddenSize]);
  }

  give(value: Value, name: string, shape: readonly (number | string)[]): void {
    this.graph.node({ op: 'Identity', inputs: [value], outputs: [name] });
    this.graph.output(name, 'float32', shape);
  }

  encode(): CpuGraph {
    return { model: this.graph.encode(), initializers: this.initializers };
  }

  embed(table: Stack): Value {
    if (this.#store.quantization === 'none') {
      return this.graph.node({ op: 'Gather', inputs: [this.#float32(table), 'ids'] });
    }
    const matrix = this.#store.quantized(table);
    const { packed, bits, blockSize } = matrix;
    const [rows = 0, blocks = 0, blockBytes = 0] = packed.shape;
    // The memory of MatMulNBits' weights read as [rows, bytes]: a tied head costs nothing more.
    const data = this.external(`${table.name}.rows`, { ...packed, shape: [rows, blocks * blockBytes] });
    return this.graph.node({
      op: 'GatherBlockQuantized',
      domain: 'com.microsoft',
      inputs: [data, 'ids', ...this.#grid(table, matrix)],
      attributes: { gather_axis: 0, quantize_axis: 1, block_size: blockSize, bits },
    });
  }

  linear(input: Value, { weight, bias }: LinearSpec): Value {
    const biasInput = bias === null ? [] : [this.#float32(bias)];
    if (this.#store.quantization === 'none') {
      const inputs = [input, this.#float32(weight), ...biasInput];
      return this.graph.node({ op: 'Gemm', inputs, attributes: { transB: 1 } });
    }
    const matrix = this.#store.quantized(weight);
    const { packed, bits, blockSize } = matrix;
    const rows = packed.shape[0] ?? 0;
    const product = this.graph.node({
      op: 'MatMulNBits',
      domain: 'com.microsoft',
      inputs: [input, this.external(weight.name, packed), ...this.#grid(weight, matrix)],
      attributes: { K: weight.columns, N: rows, bits, block_size: blockSize, accuracy_level: INT8_ACTIVATIONS },
    });
    return bias === null ? product : this.graph.node({ op: 'Add', inputs: [product, ...biasInput] });
  }

  protected gain(gamma: Stack): Value {
    return this.#float32(gamma);
  }

  /** Cosines and sines [capacity, rotated dimensions / 2]. */
  rotaryTables(rope: Rope, capacity: number): readonly Value[] {
    const kind = this.config.attention.findIndex((attention) => attention.rope === rope);
    return (['cos', 'sin'] as const).map((part) => {
      const values = (): Float32Array => rotaryTables(rope, capacity)[part];
      const name = `${part}.${kind}`;
      return this.constant(name, [capacity, rope.dims / 2], values);
    });
  }

  protected constant(name: string, shape: readonly number[], values: () => Float32Array): Value {
    return this.external(name, this.#store.constant(name, shape, values));
  }

  /** Scales, and zero points where there are some. */
  #grid({ name }: Stack, { scales, zeroPoints }: QuantizedMatrix): readonly Value[] {
    const grid = [this.external(`${name}.scales`, scales)];
    return zeroPoints === null ? grid : [...grid, this.external(`${name}.zero_points`, zeroPoints)];
  }

  #float32(stack: Stack): Value {
    return this.external(stack.name, this.#store.float32(stack));
  }
}
