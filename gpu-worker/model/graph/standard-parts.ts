/** Decoder parts that are the same for every target: standard operators in whatever number format the graph has. Knows no weight format. */
import type { ModelConfig } from '../config.ts';
import type { TensorView } from '../runtime/session.ts';
import type { Stack } from '../weight-store.ts';
import { NONE, type GraphBuilder, type Value } from './graph-builder.ts';

export abstract class StandardParts {
  readonly graph: GraphBuilder;
  /** What the graph names and whoever opens it supplies. */
  protected readonly initializers = new Map<string, TensorView>();
  protected readonly config: ModelConfig;

  constructor(graph: GraphBuilder, config: ModelConfig) {
    this.graph = graph;
    this.config = config;
  }

  /** A norm's weights in the graph's number format. */
  protected abstract gain(gamma: Stack): Value;
  /** In the graph's number format. */
  protected abstract constant(name: string, shape: readonly number[], values: () => Float32Array): Value;

  norm(input: Value, gamma: Stack): Value {
    const attributes = { axis: -1, epsilon: { float: this.config.normEpsilon } };
    return this.graph.node({ op: 'SimplifiedLayerNormalization', inputs: [input, this.gain(gamma)], attributes });
  }

  addNorm(input: Value, residual: Value, gamma: Stack): { normed: Value; sum: Value } {
    const [normed, sum] = [this.graph.fresh(), this.graph.fresh()];
    this.graph.node({
      op: 'SkipSimplifiedLayerNormalization',
      domain: 'com.microsoft',
      inputs: [input, residual, this.gain(gamma)],
      attributes: { epsilon: { float: this.config.normEpsilon } },
      outputs: [normed, NONE, NONE, sum],
    });
    return { normed, sum };
  }

  gatedSilu(gate: Value, up: Value): Value {
    // QuickGelu with alpha 1 is x × sigmoid(x).
    const attributes = { alpha: { float: 1 } };
    const silu = this.graph.node({ op: 'QuickGelu', domain: 'com.microsoft', inputs: [gate], attributes });
    return this.graph.node({ op: 'Mul', inputs: [silu, up] });
  }

  gatedGelu(gate: Value, up: Value): Value {
    const gelu = this.graph.node({ op: 'Gelu', inputs: [gate], attributes: { approximate: 'tanh' } });
    return this.graph.node({ op: 'Mul', inputs: [gelu, up] });
  }

  scale(value: Value, factor: number): Value {
    return this.graph.node({
      op: 'Mul',
      inputs: [value, this.constant(`scalar.${factor}`, [1], () => Float32Array.of(factor))],
    });
  }

  softcap(value: Value, cap: number): Value {
    return this.scale(this.graph.node({ op: 'Tanh', inputs: [this.scale(value, 1 / cap)] }), cap);
  }

  halves(value: Value, columns: number): readonly [Value, Value] {
    const [first, second] = [this.graph.fresh(), this.graph.fresh()];
    this.#split(value, [
      [first, columns],
      [second, columns],
    ]);
    return [first, second];
  }

  normHeads(packed: Value, { query, key }: { readonly query: Stack; readonly key: Stack }): Value {
    const { heads, kvHeads, headDim } = this.config;
    const [queries, keys, values] = [this.graph.fresh(), this.graph.fresh(), this.graph.fresh()];
    this.#split(packed, [
      [queries, heads * headDim],
      [keys, kvHeads * headDim],
      [values, kvHeads * headDim],
    ]);
    const normed = (value: Value, gamma: Stack, count: number): Value =>
      this.#reshape(this.norm(this.#reshape(value, [-1, count, headDim]), gamma), [-1, count * headDim]);
    const inputs = [normed(queries, query, heads), normed(keys, key, kvHeads), values];
    return this.graph.node({ op: 'Concat', inputs, attributes: { axis: 1 } });
  }

  protected external(name: string, view: TensorView): Value {
    if (!this.initializers.has(name)) {
      this.initializers.set(name, view);
      this.graph.external(name, view.type, view.shape);
    }
    return name;
  }

  /** Of [T, columns] by columns. */
  #split(value: Value, outputs: readonly (readonly [name: Value, columns: number])[]): void {
    const columns = outputs.map(([, count]) => count);
    this.graph.node({
      op: 'Split',
      inputs: [value, this.graph.int64(`split.${columns.join('.')}`, columns)],
      attributes: { axis: 1 },
      outputs: outputs.map(([name]) => name),
    });
  }

  #reshape(value: Value, shape: readonly number[]): Value {
    return this.graph.node({ op: 'Reshape', inputs: [value, this.graph.int64(`shape.${shape.join('.')}`, shape)] });
  }
}
