/** The graphs that draw on the GPU without the host: greedy, by inverse CDF, or either row by row. Know no memory. */
import { GraphBuilder } from '../graph/graph-builder.ts';
import type { Value } from '../graph/graph-builder.ts';
import { drawNodes, likeliestNodes } from '../vocabulary-blocks.ts';
import { ELEMENT_TYPES } from '../runtime/ort-api.ts';

/** greedy: every row; sampled: none, and no token is forbidden; mixed: each row as its temperature says, 0 = greedy. */
export type DrawKind = 'greedy' | 'sampled' | 'mixed';

/**
 * Logits float32 [R, V] and, unless greedy, temperature, block_uniform and token_uniform [R, 1] as the bulk graph has
 * them → token int32 [R, 1] and check float32 [R, 1]: finite if the row's logits are.
 */
export function drawGraph(kind: DrawKind, vocabSize: number): Uint8Array {
  const graph = new GraphBuilder(`${kind}_draw`);
  graph.input('logits', 'float32', ['R', vocabSize]);
  if (kind !== 'greedy') {
    for (const name of ['temperature', 'block_uniform', 'token_uniform']) graph.input(name, 'float32', ['R', 1]);
  }
  graph.output('token', 'int32', ['R', 1]);
  graph.output('check', 'float32', ['R', 1]);
  const token = TOKEN_NODES[kind](graph, vocabSize);
  graph.node({ op: 'Cast', inputs: [token], attributes: { to: ELEMENT_TYPES.int32 }, outputs: ['token'] });
  return graph.encode();
}

/** Of any number format, [R, 1]. */
const TOKEN_NODES: Readonly<Record<DrawKind, (graph: GraphBuilder, vocabSize: number) => Value>> = {
  greedy,
  sampled,
  mixed,
};

function greedy(graph: GraphBuilder, vocabSize: number): Value {
  const token = likeliestNodes(graph, 'logits', { vocabSize, target: 'cuda' });
  graph.node({ op: 'GatherElements', inputs: ['logits', token], attributes: { axis: 1 }, outputs: ['check'] });
  return token;
}

function sampled(graph: GraphBuilder, vocabSize: number): Value {
  return drawNodes(graph, {
    vocabSize,
    target: 'cuda',
    temperature: 'temperature',
    emptyBlocks: false,
    check: 'check',
  });
}

function mixed(graph: GraphBuilder, vocabSize: number): Value {
  const isGreedy = graph.node({ op: 'LessOrEqual', inputs: ['temperature', graph.float32('zero', [0])] });
  // Greedy rows pass through the softmax unread.
  const temperature = graph.node({ op: 'Where', inputs: [isGreedy, graph.float32('one', [1]), 'temperature'] });
  const drawn = drawNodes(graph, { vocabSize, target: 'cuda', temperature, emptyBlocks: true, check: 'check' });
  const likeliest = likeliestNodes(graph, 'logits', { vocabSize, target: 'cuda' });
  const token = graph.node({ op: 'Cast', inputs: [drawn], attributes: { to: ELEMENT_TYPES.int64 } });
  return graph.node({ op: 'Where', inputs: [isGreedy, likeliest, token] });
}
