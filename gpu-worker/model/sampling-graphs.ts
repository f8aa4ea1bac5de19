/** Small graphs over rows of logits: what drawing tokens needs from ONNX Runtime. Knows no memory and no session. */
import { GraphBuilder } from './graph/graph-builder.ts';
import type { Value } from './graph/graph-builder.ts';
import { ELEMENT_TYPES } from './runtime/ort-api.ts';

/** A tensor [R, columns] beside the logits. */
export interface RowTensor {
  readonly name: string;
  readonly type: 'float32' | 'int32';
  readonly columns: number;
}

/** Its input `logits` is float32 [R, vocabSize]. */
export interface RowGraph {
  readonly model: Uint8Array;
  readonly vocabSize: number;
  readonly inputs: readonly RowTensor[];
  readonly outputs: readonly RowTensor[];
}

/** Neighbouring tokens that sums take together. */
const BLOCK = 256;

/** sum [R, 1]: finite if and only if every logit is. */
export function sumGraph(vocabSize: number): RowGraph {
  return rowGraph('sum', { vocabSize, inputs: [], outputs: [float32('sum', 1)] }, (graph) => {
    graph.node({ op: 'ReduceSum', inputs: ['logits', graph.int64('axis', [1])], outputs: ['sum'] });
  });
}

/** token [R, 1]: the likeliest, of equal ones the lowest id. */
export function greedyGraph(vocabSize: number): RowGraph {
  return rowGraph('greedy', { vocabSize, inputs: [], outputs: [int32('token', 1)] }, (graph) => {
    toInt32(graph, graph.node({ op: 'ArgMax', inputs: ['logits'], attributes: { axis: -1 } }), 'token');
  });
}

/** temperature [R, 1] → probs [R, V]; top_probs and top_ids [R, top], likeliest first, equal ones by id. */
export function keyedGraph(vocabSize: number, top: number): RowGraph {
  const inputs = [float32('temperature', 1)];
  const outputs = [float32('probs', vocabSize), float32('top_probs', top), int32('top_ids', top)];
  return rowGraph('keyed', { vocabSize, inputs, outputs }, (graph) => {
    softmax(graph, 'probs');
    topK(graph, { values: 'probs', count: top, outputs: ['top_probs', 'top_ids'] });
  });
}

/**
 * logprobs [R, V]: the log-softmax of the logits; top_logprobs and top_ids [R, top]. It sums by blocks: the operator
 * LogSoftmax adds a long tail to a large sum token by token and loses it to rounding (measured: 3e-5).
 */
export function logprobsGraph(vocabSize: number, top: number): RowGraph {
  const outputs = [float32('logprobs', vocabSize), float32('top_logprobs', top), int32('top_ids', top)];
  return rowGraph('logprobs', { vocabSize, inputs: [], outputs }, (graph) => {
    const axis = graph.int64('column_axis', [1]);
    const shifted = graph.node({
      op: 'Sub',
      inputs: ['logits', graph.node({ op: 'ReduceMax', inputs: ['logits', axis] })],
    });
    const { masses } = blocked(graph, graph.node({ op: 'Exp', inputs: [shifted] }), vocabSize);
    const normalizer = graph.node({ op: 'Log', inputs: [graph.node({ op: 'ReduceSum', inputs: [masses, axis] })] });
    graph.node({ op: 'Sub', inputs: [shifted, normalizer], outputs: ['logprobs'] });
    topK(graph, { values: 'logprobs', count: top, outputs: ['top_logprobs', 'top_ids'] });
  });
}

/**
 * temperature, block_uniform and token_uniform [R, 1] → token [R, 1]: inverse CDF over blocks of the vocabulary, then
 * inside the block. A uniform of its own at each level keeps the steps of float32 far below a token's probability.
 * Uniforms lie in [2⁻²⁴, 1 − 2⁻²⁴]: then no product below reaches its total, and no token of probability 0 is drawn.
 */
export function bulkGraph(vocabSize: number): RowGraph {
  const inputs = [float32('temperature', 1), float32('block_uniform', 1), float32('token_uniform', 1)];
  return rowGraph('bulk', { vocabSize, inputs, outputs: [int32('token', 1)] }, (graph) => {
    toInt32(graph, bulkNodes(graph, { vocabSize, temperature: 'temperature' }), 'token');
  });
}

/** The bulk draw inside a graph that has its logits and uniforms: int64 [R, 1]. */
export function bulkNodes(
  graph: GraphBuilder,
  { vocabSize, temperature }: { readonly vocabSize: number; readonly temperature: Value },
): Value {
  const scaled = graph.node({ op: 'Div', inputs: ['logits', temperature] });
  const probs = graph.node({ op: 'Softmax', inputs: [scaled], attributes: { axis: -1 } });
  const { blocks, masses } = blocked(graph, probs, vocabSize);
  const block = inverseCdf(graph, masses, { uniform: 'block_uniform', size: blocksOf(vocabSize) });
  const row = blockOf(graph, blocks, block);
  const inside = inverseCdf(graph, row, { uniform: 'token_uniform', size: BLOCK });
  const start = graph.node({ op: 'Mul', inputs: [block, graph.int64('block_size', [BLOCK])] });
  return graph.node({ op: 'Add', inputs: [start, inside] });
}

function rowGraph(name: string, shape: Omit<RowGraph, 'model'>, build: (graph: GraphBuilder) => void): RowGraph {
  const graph = new GraphBuilder(name);
  graph.input('logits', 'float32', ['R', shape.vocabSize]);
  for (const input of shape.inputs) graph.input(input.name, input.type, ['R', input.columns]);
  for (const output of shape.outputs) graph.output(output.name, output.type, ['R', output.columns]);
  build(graph);
  return { ...shape, model: graph.encode() };
}

function float32(name: string, columns: number): RowTensor {
  return { name, type: 'float32', columns };
}

function int32(name: string, columns: number): RowTensor {
  return { name, type: 'int32', columns };
}

function softmax(graph: GraphBuilder, output: Value): void {
  const scaled = graph.node({ op: 'Div', inputs: ['logits', 'temperature'] });
  graph.node({ op: 'Softmax', inputs: [scaled], attributes: { axis: -1 }, outputs: [output] });
}

function topK(
  graph: GraphBuilder,
  top: { readonly values: Value; readonly count: number; readonly outputs: readonly [values: Value, ids: Value] },
): void {
  const ids = graph.fresh();
  const count = graph.int64('top', [top.count]);
  const outputs = [top.outputs[0], ids];
  graph.node({ op: 'TopK', inputs: [top.values, count], attributes: { axis: -1 }, outputs });
  toInt32(graph, ids, top.outputs[1]);
}

function toInt32(graph: GraphBuilder, value: Value, output: Value): void {
  graph.node({ op: 'Cast', inputs: [value], attributes: { to: ELEMENT_TYPES.int32 }, outputs: [output] });
}

function blocksOf(vocabSize: number): number {
  return Math.ceil(vocabSize / BLOCK);
}

/** values [R, V] → blocks [R, V / BLOCK, BLOCK], with zeros behind the last, and their sums [R, V / BLOCK]. */
function blocked(graph: GraphBuilder, values: Value, vocabSize: number): { blocks: Value; masses: Value } {
  const count = blocksOf(vocabSize);
  const extra = count * BLOCK - vocabSize;
  const pad = () => graph.node({ op: 'Pad', inputs: [values, graph.int64('padding', [0, 0, 0, extra])] });
  const padded = extra === 0 ? values : pad();
  const shape = graph.int64('block_shape', [-1, count, BLOCK]);
  const blocks = graph.node({ op: 'Reshape', inputs: [padded, shape] });
  const axis = graph.int64('token_axis', [2]);
  return { blocks, masses: graph.node({ op: 'ReduceSum', inputs: [blocks, axis], attributes: { keepdims: 0 } }) };
}

/**
 * blocks [R, V / BLOCK, BLOCK], block int64 [R, 1] → [R, BLOCK]. By GatherElements: GatherND sends sizes to the GPU from
 * host memory that it gives back, so a captured graph would read there whatever came later.
 */
function blockOf(graph: GraphBuilder, blocks: Value, block: Value): Value {
  const place = graph.node({ op: 'Reshape', inputs: [block, graph.int64('place_shape', [-1, 1, 1])] });
  const places = graph.node({ op: 'Expand', inputs: [place, graph.int64('places_shape', [1, 1, BLOCK])] });
  const row = graph.node({ op: 'GatherElements', inputs: [blocks, places], attributes: { axis: 1 } });
  return graph.node({ op: 'Reshape', inputs: [row, graph.int64('row_shape', [-1, BLOCK])] });
}

/** weights [R, size], uniform [R, 1] → int64 [R, 1]: the first index whose running sum exceeds uniform × total. */
function inverseCdf(
  graph: GraphBuilder,
  weights: Value,
  { uniform, size }: { readonly uniform: Value; readonly size: number },
): Value {
  const axis = graph.int64('column_axis', [1]);
  const sums = graph.node({ op: 'CumSum', inputs: [weights, axis] });
  const last = graph.int64(`last_of_${size}`, [size - 1]);
  const total = graph.node({ op: 'Gather', inputs: [sums, last], attributes: { axis: 1 } });
  const bar = graph.node({ op: 'Mul', inputs: [uniform, total] });
  const below = graph.node({ op: 'LessOrEqual', inputs: [sums, bar] });
  const counted = graph.node({ op: 'Cast', inputs: [below], attributes: { to: ELEMENT_TYPES.int32 } });
  const count = graph.node({ op: 'ReduceSum', inputs: [counted, axis] });
  return graph.node({ op: 'Cast', inputs: [count], attributes: { to: ELEMENT_TYPES.int64 } });
}
