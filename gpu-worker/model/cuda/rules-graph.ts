/** The graph that changes logits on the GPU as `applyRules` does on the host, to the bit. Knows no memory. */
import { GraphBuilder } from '../graph/graph-builder.ts';
import type { Value } from '../graph/graph-builder.ts';
import { ELEMENT_TYPES } from '../runtime/ort-api.ts';

/** In `counts`: nothing is listed here; a token that prompt and output do not have. */
export const UNUSED = -2;
export const UNSEEN = -1;

/** What the graph reads of R rows with W places for tokens each. */
export const LIST_INPUTS = { ids: 'int32', counts: 'int32', bias: 'float32' } as const;
const [INT32, FLOAT32] = ['int32', 'float32'] as const;
export const ROW_INPUTS = {
  ...{ offset: INT32, place: INT32, known: INT32 },
  ...{ pending: FLOAT32, repetition: FLOAT32, frequency: FLOAT32, presence: FLOAT32 },
} as const;

/**
 * logits float32 [N], all rows' in one → changed, which may be the same memory; words int32 [L], where tokens are found
 * that only the GPU knows. Lists [R, W]: ids, each once; counts in the output, 0 = in the prompt alone, UNSEEN or
 * UNUSED, of which every row has one at least; bias, −Infinity = forbidden. Rows [R, 1]: offset of the row's logits;
 * with pending = 1 the output has one token more than the list says, words[place]; with 0 any listed id as `known`; the
 * three penalties.
 */
export function rulesGraph(): Uint8Array {
  const graph = new GraphBuilder('rules');
  graph.input('logits', 'float32', ['N']);
  graph.output('changed', 'float32', ['N']);
  graph.input('words', 'int32', ['L']);
  for (const [name, type] of Object.entries(LIST_INPUTS)) graph.input(name, type, ['R', 'W']);
  for (const [name, type] of Object.entries(ROW_INPUTS)) graph.input(name, type, ['R', 1]);
  const { id, seen, bias } = entries(graph);
  const at = graph.node({ op: 'Add', inputs: [id, 'offset'] });
  const raw = graph.node({ op: 'Gather', inputs: ['logits', at], attributes: { axis: 0 } });
  const changed = penalized(graph, { raw, seen });
  const value = graph.node({ op: 'Add', inputs: [changed, bias] });
  const flat = (from: Value): Value => graph.node({ op: 'Reshape', inputs: [from, graph.int64('flat', [-1])] });
  graph.node({ op: 'ScatterElements', inputs: ['logits', flat(at), flat(value)], outputs: ['changed'] });
  return graph.encode();
}

/**
 * The lists with the pending token counted. Unused places stand for that token or a listed one: what they write is
 * the same as the token's own place writes. `seen` is 1 + the count, 0 = not seen.
 */
function entries(graph: GraphBuilder): { id: Value; seen: Value; bias: Value } {
  const { zero, one } = constants(graph);
  const isPending = graph.node({ op: 'Greater', inputs: ['pending', zero] });
  const drawn = graph.node({ op: 'Gather', inputs: ['words', 'place'], attributes: { axis: 0 } });
  const last = graph.node({ op: 'Where', inputs: [isPending, drawn, 'known'] });
  const counts = graph.node({ op: 'Cast', inputs: ['counts'], attributes: { to: ELEMENT_TYPES.float32 } });
  const above = graph.node({ op: 'Add', inputs: [counts, one] });
  const isUnused = graph.node({ op: 'Less', inputs: [above, zero] });
  const id = graph.node({ op: 'Where', inputs: [isUnused, last, 'ids'] });
  const isLast = graph.node({ op: 'Equal', inputs: [id, last] });
  // One place at most has the token listed: a sum over its value and zeros is that value.
  const ofLast = (values: Value): Value => {
    const only = graph.node({ op: 'Where', inputs: [isLast, values, zero] });
    return graph.node({ op: 'ReduceSum', inputs: [only, graph.int64('list_axis', [1])] });
  };
  const listed = graph.node({ op: 'Max', inputs: [above, zero] });
  const before = ofLast(listed);
  const counted = graph.node({ op: 'Add', inputs: [graph.node({ op: 'Max', inputs: [before, one] }), one] });
  const seenOfLast = graph.node({ op: 'Where', inputs: [isPending, counted, before] });
  const seen = graph.node({ op: 'Where', inputs: [isLast, seenOfLast, listed] });
  return { id, seen, bias: graph.node({ op: 'Where', inputs: [isLast, ofLast('bias'), 'bias'] }) };
}

/** Repetition, then frequency and presence. */
function penalized(graph: GraphBuilder, { raw, seen }: { readonly raw: Value; readonly seen: Value }): Value {
  const { zero, one } = constants(graph);
  const isPositive = graph.node({ op: 'Greater', inputs: [raw, zero] });
  const less = graph.node({ op: 'Div', inputs: [raw, 'repetition'] });
  const more = graph.node({ op: 'Mul', inputs: [raw, 'repetition'] });
  const repeated = graph.node({ op: 'Where', inputs: [isPositive, less, more] });
  const isSeen = graph.node({ op: 'Greater', inputs: [seen, zero] });
  const logit = graph.node({ op: 'Where', inputs: [isSeen, repeated, raw] });
  const count = graph.node({ op: 'Max', inputs: [graph.node({ op: 'Sub', inputs: [seen, one] }), zero] });
  const often = graph.node({ op: 'Mul', inputs: ['frequency', count] });
  const isOutput = graph.node({ op: 'Greater', inputs: [count, zero] });
  const once = graph.node({ op: 'Where', inputs: [isOutput, 'presence', zero] });
  return graph.node({ op: 'Sub', inputs: [logit, graph.node({ op: 'Add', inputs: [often, once] })] });
}

function constants(graph: GraphBuilder): { readonly zero: Value; readonly one: Value } {
  return { zero: graph.float32('zero', [0]), one: graph.float32('one', [1]) };
}
