/** Graph nodes over blocks of the vocabulary: log-softmax, the likeliest token, exact draws by inverse CDF. Know no memory and no session. */
import type { GraphBuilder, Value } from './graph/graph-builder.ts';
import { ELEMENT_TYPES } from './runtime/ort-api.ts';

/** Neighbouring tokens of a block. */
const BLOCK = 256;

/**
 * Who runs the graph. For a row of 151,936 logits a CPU core takes 0.2 ms for ArgMax and 0.015 for ReduceMax by blocks;
 * a GPU 4 µs for ArgMax, and ReduceMax goes through cuDNN (6 ms for 16 rows).
 */
export type GraphTarget = 'cpu' | 'cuda';

/**
 * What goes over the whole row costs most on a GPU, where operators give a row to one block of threads: softmax takes
 * 54 to 103 µs for 1 to 64 rows of 128,256 logits, over blocks 2 to 25 (H100).
 */
export interface NormalizedBlocks {
  /** [R, V / BLOCK, BLOCK]: log-softmax inside each block; −Infinity behind the last token. */
  readonly logprobs: Value;
  /** [R, V / BLOCK]: each block's largest value. */
  readonly largest: Value;
  /** [R, V / BLOCK]: log of each block's sum of exponentials. */
  readonly masses: Value;
}

/** `values` float32 [R, V]. For cuda, a block with a value that is NaN or Infinity, or with none above −Infinity, has a mass of NaN. */
export function normalizeBlocks(
  graph: GraphBuilder,
  values: Value,
  { vocabSize, target }: { readonly vocabSize: number; readonly target: GraphTarget },
): NormalizedBlocks {
  const blocks = blocked(graph, values, vocabSize);
  const logprobs = graph.node({ op: 'LogSoftmax', inputs: [blocks], attributes: { axis: -1 } });
  const place = target === 'cuda' ? graph.node({ op: 'ArgMax', inputs: [blocks], attributes: { axis: -1 } }) : null;
  const largestOf = (from: Value): Value => {
    if (place === null) return largestOfBlocks(graph, from);
    const at = graph.node({ op: 'GatherElements', inputs: [from, place], attributes: { axis: 2 } });
    return graph.node({ op: 'Reshape', inputs: [at, graph.int64('mass_shape', [-1, blocksOf(vocabSize)])] });
  };
  const largest = largestOf(blocks);
  // At its largest value a block's logprob is least negative: the difference loses nothing, however low the others are.
  return { logprobs, largest, masses: graph.node({ op: 'Sub', inputs: [largest, largestOf(logprobs)] }) };
}

/** values [R, V] → int64 [R, 1]: where the largest is, of equal ones the first. */
export function likeliestNodes(
  graph: GraphBuilder,
  values: Value,
  { vocabSize, target }: { readonly vocabSize: number; readonly target: GraphTarget },
): Value {
  const argMax = (from: Value): Value => graph.node({ op: 'ArgMax', inputs: [from], attributes: { axis: -1 } });
  if (target === 'cuda') return argMax(values);
  const blocks = blocked(graph, values, vocabSize);
  const block = argMax(largestOfBlocks(graph, blocks));
  const inside = argMax(blockAt(graph, blocks, block));
  const start = graph.node({ op: 'Mul', inputs: [block, graph.int64('block_length', [BLOCK])] });
  return graph.node({ op: 'Add', inputs: [start, inside] });
}

/** [R, V] → [R, V / BLOCK, BLOCK], with −Infinity behind the last token. */
function blocked(graph: GraphBuilder, values: Value, vocabSize: number): Value {
  const count = blocksOf(vocabSize);
  const extra = count * BLOCK - vocabSize;
  const nothing = graph.float32('nothing', [-Infinity]);
  const pad = () => graph.node({ op: 'Pad', inputs: [values, graph.int64('padding', [0, 0, 0, extra]), nothing] });
  const shape = graph.int64('block_shape', [-1, count, BLOCK]);
  return graph.node({ op: 'Reshape', inputs: [extra === 0 ? values : pad(), shape] });
}

function largestOfBlocks(graph: GraphBuilder, blocks: Value): Value {
  const axis = graph.int64('token_axis', [2]);
  return graph.node({ op: 'ReduceMax', inputs: [blocks, axis], attributes: { keepdims: 0 } });
}

/** The masses with −Infinity for blocks that have nothing above it. */
function withEmptyBlocks(graph: GraphBuilder, { largest, masses }: NormalizedBlocks): Value {
  const nothing = graph.float32('nothing', [-Infinity]);
  const isEmpty = graph.node({ op: 'Equal', inputs: [largest, nothing] });
  return graph.node({ op: 'Where', inputs: [isEmpty, nothing, masses] });
}

/** [R, V / BLOCK, BLOCK] → [R, V] */
export function unblocked(
  graph: GraphBuilder,
  { values, vocabSize, output }: { readonly values: Value; readonly vocabSize: number; readonly output: Value },
): void {
  const padded = blocksOf(vocabSize) * BLOCK;
  const isPadded = padded > vocabSize;
  const rows = isPadded ? graph.fresh() : output;
  graph.node({ op: 'Reshape', inputs: [values, graph.int64('row_shape', [-1, padded])], outputs: [rows] });
  if (!isPadded) return;
  const [first, last, axis] = [graph.int64('first', [0]), graph.int64('last', [vocabSize]), graph.int64('axis', [1])];
  graph.node({ op: 'Slice', inputs: [rows, first, last, axis], outputs: [output] });
}

export interface DrawOptions {
  readonly vocabSize: number;
  readonly target: GraphTarget;
  /** [R, 1] */
  readonly temperature: Value;
  /** Whether rules may leave a block without a token. */
  readonly emptyBlocks: boolean;
  /** Name of an output float32 [R, 1], about 1: finite if and only if no logit of the row is NaN or Infinity, and one is above −Infinity. */
  readonly check?: Value;
}

/**
 * Draws in a graph that has `logits` and block_uniform and token_uniform [R, 1]: inverse CDF over blocks of the
 * vocabulary, then inside the block. A uniform of its own at each level keeps the steps of float32 far below a token's
 * probability. Uniforms lie in [2⁻²⁴, 1 − 2⁻²⁴]: then no product below reaches its total, and no token of probability
 * 0 is drawn. Returns tokens as float32 integers [R, 1].
 */
export function drawNodes(graph: GraphBuilder, options: DrawOptions): Value {
  const { vocabSize, temperature, check } = options;
  const scaled = graph.node({ op: 'Div', inputs: ['logits', temperature] });
  const blocks = normalizeBlocks(graph, scaled, options);
  const masses = options.emptyBlocks ? withEmptyBlocks(graph, blocks) : blocks.masses;
  const shares = graph.node({ op: 'Softmax', inputs: [masses], attributes: { axis: -1 } });
  const block = inverseCdf(graph, shares, { uniform: 'block_uniform', size: blocksOf(vocabSize), total: check });
  const whole = graph.node({ op: 'Cast', inputs: [block], attributes: { to: ELEMENT_TYPES.int64 } });
  const probs = graph.node({ op: 'Exp', inputs: [blockAt(graph, blocks.logprobs, whole)] });
  const inside = inverseCdf(graph, probs, { uniform: 'token_uniform', size: BLOCK });
  const start = graph.node({ op: 'Mul', inputs: [block, graph.float32('block_size', [BLOCK])] });
  return graph.node({ op: 'Add', inputs: [start, inside] });
}

function blocksOf(vocabSize: number): number {
  return Math.ceil(vocabSize / BLOCK);
}

/**
 * blocks [R, V / BLOCK, BLOCK], index int64 [R, 1] → [R, BLOCK]. By GatherElements: GatherND sends sizes to the GPU
 * from host memory that it gives back, so a captured graph would read there whatever came later.
 */
function blockAt(graph: GraphBuilder, blocks: Value, index: Value): Value {
  const place = graph.node({ op: 'Reshape', inputs: [index, graph.int64('place_shape', [-1, 1, 1])] });
  const places = graph.node({ op: 'Expand', inputs: [place, graph.int64('places_shape', [1, 1, BLOCK])] });
  const row = graph.node({ op: 'GatherElements', inputs: [blocks, places], attributes: { axis: 1 } });
  return graph.node({ op: 'Reshape', inputs: [row, graph.int64('chosen_shape', [-1, BLOCK])] });
}

interface CdfOptions {
  readonly uniform: Value;
  readonly size: number;
  /** Name for the weights' total [R, 1]. */
  readonly total?: Value | undefined;
}

/** weights [R, size], uniform [R, 1] → float32 [R, 1]: the first index whose running sum exceeds uniform × total. */
function inverseCdf(graph: GraphBuilder, weights: Value, { uniform, size, ...names }: CdfOptions): Value {
  const axis = graph.int64('column_axis', [1]);
  const sums = graph.node({ op: 'CumSum', inputs: [weights, axis] });
  const last = graph.int64(`last_of_${size}`, [size - 1]);
  const outputs = [names.total ?? graph.fresh()];
  const total = graph.node({ op: 'Gather', inputs: [sums, last], attributes: { axis: 1 }, outputs });
  const bar = graph.node({ op: 'Mul', inputs: [uniform, total] });
  const below = graph.node({ op: 'LessOrEqual', inputs: [sums, bar] });
  // Summed as float32: exact up to 2²⁴, and without the casts around sums of integers.
  const counted = graph.node({ op: 'Cast', inputs: [below], attributes: { to: ELEMENT_TYPES.float32 } });
  return graph.node({ op: 'ReduceSum', inputs: [counted, axis] });
}
