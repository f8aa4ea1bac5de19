/** Small graphs over rows of logits: what drawing tokens needs from ONNX Runtime. Knows no memory and no session. */
import { GraphBuilder } from './graph/graph-builder.ts';
import type { Value } from './graph/graph-builder.ts';
import { drawNodes, likeliestNodes, normalizeBlocks, unblocked } from './vocabulary-blocks.ts';
import type { GraphTarget } from './vocabulary-blocks.ts';
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

/** sum [R, 1]: finite if and only if every logit is. */
export function sumGraph(vocabSize: number): RowGraph {
  return rowGraph('sum', { vocabSize, inputs: [], outputs: [float32('sum', 1)] }, (graph) => {
    graph.node({ op: 'ReduceSum', inputs: ['logits', graph.int64('axis', [1])], outputs: ['sum'] });
  });
}

/** token [R, 1]: the likeliest, of equal ones the lowest id. */
export function greedyGraph(vocabSize: number, target: GraphTarget): RowGraph {
  return rowGraph('greedy', { vocabSize, inputs: [], outputs: [int32('token', 1)] }, (graph) => {
    toInt32(graph, likeliestNodes(graph, 'logits', { vocabSize, target }), 'token');
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

/** logprobs [R, V]: the log-softmax of the logits; top_logprobs and top_ids [R, top]. */
export function logprobsGraph(
  vocabSize: number,
  { top, target }: { readonly top: number; readonly target: GraphTarget },
): RowGraph {
  const outputs = [float32('logprobs', vocabSize), float32('top_logprobs', top), int32('top_ids', top)];
  return rowGraph('logprobs', { vocabSize, inputs: [], outputs }, (graph) => {
    const blocks = normalizeBlocks(graph, 'logits', { vocabSize, target });
    const shares = graph.node({ op: 'LogSoftmax', inputs: [blocks.masses], attributes: { axis: -1 } });
    const shape = graph.int64('share_shape', [0, -1, 1]);
    const share = graph.node({ op: 'Reshape', inputs: [shares, shape] });
    const logprobs = graph.node({ op: 'Add', inputs: [blocks.logprobs, share] });
    unblocked(graph, { values: logprobs, vocabSize, output: 'logprobs' });
    topK(graph, { values: 'logprobs', count: top, outputs: ['top_logprobs', 'top_ids'] });
  });
}

/** temperature, block_uniform and token_uniform [R, 1] → token [R, 1]: see `drawNodes`. */
export function bulkGraph(vocabSize: number, target: GraphTarget): RowGraph {
  const inputs = [float32('temperature', 1), float32('block_uniform', 1), float32('token_uniform', 1)];
  return rowGraph('bulk', { vocabSize, inputs, outputs: [int32('token', 1)] }, (graph) => {
    const token = drawNodes(graph, { vocabSize, target, temperature: 'temperature', emptyBlocks: true });
    toInt32(graph, token, 'token');
  });
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
