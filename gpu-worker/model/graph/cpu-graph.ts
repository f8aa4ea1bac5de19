/** The decoder's parts in ONNX Runtime's CPU kernels: GroupQueryAttention over KV slots, Gemm or MatMulNBits. Knows no runs. */
import type { ModelConfig } from '../config.ts';
import { BLOCK_SIZE } from '../quantize.ts';
import type { TensorView } from '../runtime/session.ts';
import type { QuantizedMatrix, Stack, WeightStore } from '../weight-store.ts';
import { decoder } from './decoder.ts';
import type { DecoderParts, LinearSpec } from './decoder.ts';
import { GraphBuilder, NONE } from './graph-builder.ts';
import type { Value } from './graph-builder.ts';
import { rotaryTables } from './rotary.ts';

/** Without level 4 (int8 activations) MatMulNBits is many times slower. */
const INT8_ACTIVATIONS = 4;

export interface CpuGraph {
  readonly model: Uint8Array;
  readonly initializers: ReadonlyMap<string, TensorView>;
}

/**
 * Inputs: ids int64 [B, S]; seqlens_k int32 [B], total tokens of each sequence − 1; total_length int32 [1], the largest
 * total; rows int64 [R] into the flattened B × S tokens; past_key.i and past_value.i float32 [B, kvHeads, capacity, headDim].
 * Outputs: logits float32 [R, V]; present_key.i and present_value.i, to be bound to the memory of their past.
 */
export function cpuGraph(config: ModelConfig, store: WeightStore, capacity: number): CpuGraph {
  const parts = new CpuParts(config, store, capacity);
  return parts.build();
}

class CpuParts implements DecoderParts {
  readonly #config: ModelConfig;
  readonly #store: WeightStore;
  readonly #capacity: number;
  readonly #graph = new GraphBuilder('decoder');
  readonly #initializers = new Map<string, TensorView>();
  readonly #quantized = new Map<string, QuantizedMatrix>();

  constructor(config: ModelConfig, store: WeightStore, capacity: number) {
    this.#config = config;
    this.#store = store;
    this.#capacity = capacity;
  }

  build(): CpuGraph {
    const graph = this.#graph;
    graph.input('ids', 'int64', ['B', 'S']);
    graph.input('seqlens_k', 'int32', ['B']);
    graph.input('total_length', 'int32', [1]);
    graph.input('rows', 'int64', ['R']);
    this.#addRotaryTables();
    graph.int64('flat', [-1]);
    graph.int64('flat_heads', [-1, this.#config.heads * this.#config.headDim]);
    graph.int64('last_axis', [-1]);
    const shape = graph.node({ op: 'Shape', inputs: ['ids'] });
    graph.node({ op: 'Concat', inputs: [shape, 'last_axis'], attributes: { axis: 0 }, outputs: ['batch_shape'] });
    const logits = decoder(this.#config, this);
    graph.node({ op: 'Identity', inputs: [logits], outputs: ['logits'] });
    graph.output('logits', 'float32', ['R', this.#config.vocabSize]);
    return { model: graph.encode(), initializers: this.#initializers };
  }

  embed(table: Stack): Value {
    const ids = this.#graph.node({ op: 'Reshape', inputs: ['ids', 'flat'] });
    if (this.#store.quantization === 'none') {
      return this.#graph.node({ op: 'Gather', inputs: [this.#float32(table), ids] });
    }
    const { packed, scales, bits } = this.#quantize(table);
    const [rows = 0, blocks = 0, blockBytes = 0] = packed.shape;
    // The memory of MatMulNBits' weights read as [rows, bytes]: a tied head costs nothing more.
    const data = this.#external(`${table.name}.rows`, { ...packed, shape: [rows, blocks * blockBytes] });
    return this.#graph.node({
      op: 'GatherBlockQuantized',
      domain: 'com.microsoft',
      inputs: [data, ids, this.#external(`${table.name}.scales`, scales)],
      attributes: { gather_axis: 0, quantize_axis: 1, block_size: BLOCK_SIZE, bits },
    });
  }

  linear(input: Value, { weight, bias }: LinearSpec): Value {
    const biasInput = bias === null ? [] : [this.#float32(bias)];
    if (this.#store.quantization === 'none') {
      const inputs = [input, this.#float32(weight), ...biasInput];
      return this.#graph.node({ op: 'Gemm', inputs, attributes: { transB: 1 } });
    }
    const { packed, scales, bits } = this.#quantize(weight);
    const rows = packed.shape[0] ?? 0;
    const product = this.#graph.node({
      op: 'MatMulNBits',
      domain: 'com.microsoft',
      inputs: [input, this.#external(weight.name, packed), this.#external(`${weight.name}.scales`, scales)],
      attributes: { K: weight.columns, N: rows, bits, block_size: BLOCK_SIZE, accuracy_level: INT8_ACTIVATIONS },
    });
    return bias === null ? product : this.#graph.node({ op: 'Add', inputs: [product, ...biasInput] });
  }

  norm(input: Value, gamma: Stack): Value {
    const attributes = { axis: -1, epsilon: { float: this.#config.normEpsilon } };
    return this.#graph.node({ op: 'SimplifiedLayerNormalization', inputs: [input, this.#float32(gamma)], attributes });
  }

  addNorm(input: Value, residual: Value, gamma: Stack): { normed: Value; sum: Value } {
    const [normed, sum] = [this.#graph.fresh(), this.#graph.fresh()];
    this.#graph.node({
      op: 'SkipSimplifiedLayerNormalization',
      domain: 'com.microsoft',
      inputs: [input, residual, this.#float32(gamma)],
      attributes: { epsilon: { float: this.#config.normEpsilon } },
      outputs: [normed, NONE, NONE, sum],
    });
    return { normed, sum };
  }

  attention(qkv: Value, layer: number): Value {
    const { heads, kvHeads, headDim } = this.#config;
    const shape = ['B', kvHeads, this.#capacity, headDim];
    const past = [`past_key.${layer}`, `past_value.${layer}`];
    const present = [`present_key.${layer}`, `present_value.${layer}`];
    for (const name of past) this.#graph.input(name, 'float32', shape);
    for (const name of present) this.#graph.output(name, 'float32', shape);
    const attended = this.#graph.fresh();
    this.#graph.node({
      op: 'GroupQueryAttention',
      domain: 'com.microsoft',
      inputs: [
        this.#graph.node({ op: 'Reshape', inputs: [qkv, 'batch_shape'] }),
        NONE,
        NONE,
        ...past,
        'seqlens_k',
        'total_length',
        'cos',
        'sin',
      ],
      attributes: { num_heads: heads, kv_num_heads: kvHeads, do_rotary: 1, rotary_interleaved: 0 },
      outputs: [attended, ...present],
    });
    return this.#graph.node({ op: 'Reshape', inputs: [attended, 'flat_heads'] });
  }

  gatedSilu(gate: Value, up: Value): Value {
    // QuickGelu with alpha 1 is x × sigmoid(x).
    const silu = this.#graph.node({
      op: 'QuickGelu',
      domain: 'com.microsoft',
      inputs: [gate],
      attributes: { alpha: { float: 1 } },
    });
    return this.#graph.node({ op: 'Mul', inputs: [silu, up] });
  }

  selectRows(hidden: Value): Value {
    return this.#graph.node({ op: 'Gather', inputs: [hidden, 'rows'] });
  }

  #addRotaryTables(): void {
    const { cos, sin } = rotaryTables(this.#config, this.#capacity);
    const shape = [this.#capacity, this.#config.headDim / 2];
    this.#external('cos', this.#store.constant(cos, shape));
    this.#external('sin', this.#store.constant(sin, shape));
  }

  #float32(stack: Stack): Value {
    if (this.#initializers.has(stack.name)) return stack.name;
    return this.#external(stack.name, this.#store.float32(stack));
  }

  #quantize(stack: Stack): QuantizedMatrix {
    const matrix = this.#quantized.get(stack.name) ?? this.#store.quantized(stack);
    this.#quantized.set(stack.name, matrix);
    return matrix;
  }

  #external(name: string, view: TensorView): Value {
    if (!this.#initializers.has(name)) {
      this.#initializers.set(name, view);
      this.#graph.external(name, view.type, view.shape);
    }
    return name;
  }
}
