/** The graphs that draw on the GPU without the host: greedy alone, and greedy or inverse CDF row by row. Know no memory. */
import { GraphBuilder } from '../graph/graph-builder.ts';
import { ELEMENT_TYPES } from '../runtime/ort-api.ts';
import { bulkNodes } from '../sampling-graphs.ts';

/** Logits float32 [R, V] → token int32 [R] and check float32 [R], the token's logit: finite if the row's logits are. */
export function greedyDrawGraph(vocabSize: number): Uint8Array {
  const graph = drawGraph('greedy_draw', vocabSize);
  finish(graph, greedy(graph));
  return graph.encode();
}

/** Also temperature, block_uniform and token_uniform [R, 1], as the bulk graph has them; temperature 0 = greedy. */
export function mixedDrawGraph(vocabSize: number): Uint8Array {
  const graph = drawGraph('mixed_draw', vocabSize);
  const inputs = ['temperature', 'block_uniform', 'token_uniform'];
  for (const name of inputs) graph.input(name, 'float32', ['R', 1]);
  const zero = graph.float32('zero', [0]);
  const isGreedy = graph.node({ op: 'LessOrEqual', inputs: ['temperature', zero] });
  // Greedy rows pass through the softmax unread.
  const one = graph.float32('one', [1]);
  const temperature = graph.node({ op: 'Where', inputs: [isGreedy, one, 'temperature'] });
  const drawn = bulkNodes(graph, { vocabSize, temperature });
  finish(graph, graph.node({ op: 'Where', inputs: [isGreedy, greedy(graph), drawn] }));
  return graph.encode();
}

function drawGraph(name: string, vocabSize: number): GraphBuilder {
  const graph = new GraphBuilder(name);
  graph.input('logits', 'float32', ['R', vocabSize]);
  graph.output('token', 'int32', ['R']);
  graph.output('check', 'float32', ['R', 1]);
  return graph;
}

/** int64 [R, 1] */
function greedy(graph: GraphBuilder): string {
  return graph.node({ op: 'ArgMax', inputs: ['logits'], attributes: { axis: -1 } });
}

/** `token` int64 [R, 1]. */
function finish(graph: GraphBuilder, token: string): void {
  graph.node({ op: 'GatherElements', inputs: ['logits', token], attributes: { axis: 1 }, outputs: ['check'] });
  const narrow = graph.node({ op: 'Cast', inputs: [token], attributes: { to: ELEMENT_TYPES.int32 } });
  graph.node({ op: 'Squeeze', inputs: [narrow, graph.int64('column_axis', [1])], outputs: ['token'] });
}
