/** Draws tokens from the logits buffer: ArgMax for greedy rows, Softmax and TopK in a small graph for the rest. Knows no model. */
import type { SampleSpec } from '../engine/step-plan.ts';
import type { drawKeyed } from '../sample/keyed.ts';
import { GraphBuilder } from './graph/graph-builder.ts';
import { Memory } from './runtime/memory.ts';
import { Session } from './runtime/session.ts';
import type { Binding, TensorView } from './runtime/session.ts';

/** Candidates that the exact keyed draw looks at before the tail. */
const TOP = 64;

export type DrawToken = typeof drawKeyed;

/** The model gave NaN or infinite logits: the sequence cannot go on. */
export class LogitsError extends Error {
  override readonly name = 'LogitsError';
  /** Index of the row in its plan. */
  readonly row: number;

  constructor(row: number) {
    super(`the model gave logits that are not finite for row ${row} of the plan`);
    this.row = row;
  }
}

/** One row of logits to draw from. */
export interface DrawTarget {
  /** Index of the row in its plan. */
  readonly index: number;
  readonly spec: SampleSpec;
}

export interface SamplerOptions {
  readonly vocabSize: number;
  readonly maxRows: number;
  readonly draw: DrawToken;
}

export class Sampler {
  /** [maxRows, V] float32: the model writes here. */
  readonly logits: Memory;
  readonly #options: SamplerOptions;
  readonly #top: number;
  /** Per row: temperature [1], probabilities [V], top probabilities and ids [top], argmax [1]. */
  readonly #temperatures: Memory;
  readonly #probs: Memory;
  readonly #topProbs: Memory;
  readonly #topIds: Memory;
  readonly #argmax: Memory;
  readonly #sessions: readonly Session[];
  readonly #greedy: Binding;
  readonly #keyed: Binding;

  constructor(options: SamplerOptions) {
    const { vocabSize, maxRows } = options;
    this.#options = options;
    this.#top = Math.min(TOP, vocabSize);
    this.logits = Memory.allocate(maxRows * vocabSize * 4);
    this.#temperatures = Memory.allocate(maxRows * 4);
    this.#probs = Memory.allocate(maxRows * vocabSize * 4);
    this.#topProbs = Memory.allocate(maxRows * this.#top * 4);
    this.#topIds = Memory.allocate(maxRows * this.#top * 8);
    this.#argmax = Memory.allocate(maxRows * 8);
    const none = new Map<string, TensorView>();
    // A second pool of threads would spin on the cores that the model's next run needs: measured at half its speed.
    const greedy = new Session(greedyGraph(vocabSize), { threads: 1, initializers: none });
    const keyed = new Session(keyedGraph(vocabSize, this.#top), { threads: 1, initializers: none });
    this.#sessions = [greedy, keyed];
    this.#greedy = greedy.bind();
    this.#keyed = keyed.bind();
  }

  /** `targets[i]` says how to draw from logits row i. */
  sample(targets: readonly DrawTarget[]): Int32Array {
    const tokens = new Int32Array(targets.length);
    if (targets.some(({ spec }) => spec.temperature === 0)) this.#sampleGreedy(targets, tokens);
    if (targets.some(({ spec }) => spec.temperature > 0)) this.#sampleKeyed(targets, tokens);
    return tokens;
  }

  free(): void {
    this.#greedy.release();
    this.#keyed.release();
    for (const session of this.#sessions) session.release();
    for (const memory of [this.logits, this.#temperatures, this.#probs, this.#topProbs, this.#topIds, this.#argmax]) {
      memory.free();
    }
  }

  #sampleGreedy(targets: readonly DrawTarget[], tokens: Int32Array): void {
    const rows = targets.length;
    this.#greedy.input('logits', this.#logitsView(rows));
    this.#greedy.output('token', { pointer: this.#argmax.pointer, type: 'int64', shape: [rows] });
    this.#greedy.run();
    const drawn = new BigInt64Array(this.#argmax.buffer, 0, rows);
    const { vocabSize } = this.#options;
    const logits = new Float32Array(this.logits.buffer, 0, rows * vocabSize);
    targets.forEach(({ index, spec }, row) => {
      if (spec.temperature > 0) return;
      const token = Number(drawn[row]);
      // A NaN in the hidden state makes every logit of the row NaN, so its first one tells.
      const start = row * vocabSize;
      if (!Number.isFinite(logits[start]) || !Number.isFinite(logits[start + token])) throw new LogitsError(index);
      tokens[row] = token;
    });
  }

  #sampleKeyed(targets: readonly DrawTarget[], tokens: Int32Array): void {
    const rows = targets.length;
    const { vocabSize, draw } = this.#options;
    const top = this.#top;
    const temperatures = new Float32Array(this.#temperatures.buffer, 0, rows);
    targets.forEach(({ spec }, row) => (temperatures[row] = spec.temperature > 0 ? spec.temperature : 1));
    this.#keyed.input('logits', this.#logitsView(rows));
    this.#keyed.input('temperature', { pointer: this.#temperatures.pointer, type: 'float32', shape: [rows, 1] });
    this.#keyed.output('probs', { pointer: this.#probs.pointer, type: 'float32', shape: [rows, vocabSize] });
    this.#keyed.output('top_probs', { pointer: this.#topProbs.pointer, type: 'float32', shape: [rows, top] });
    this.#keyed.output('top_ids', { pointer: this.#topIds.pointer, type: 'int64', shape: [rows, top] });
    this.#keyed.run();
    targets.forEach(({ index, spec }, row) => {
      if (spec.temperature === 0) return;
      const probs = new Float32Array(this.#topProbs.buffer, row * top * 4, top);
      if (!Number.isFinite(probs[0])) throw new LogitsError(index);
      const ids = Int32Array.from(new BigInt64Array(this.#topIds.buffer, row * top * 8, top), Number);
      const fullRow = new Float32Array(this.#probs.buffer, row * vocabSize * 4, vocabSize);
      tokens[row] = draw({ probs, ids }, fullRow, spec);
    });
  }

  #logitsView(rows: number): TensorView {
    return { pointer: this.logits.pointer, type: 'float32', shape: [rows, this.#options.vocabSize] };
  }
}

/** logits [R, V] → token int64 [R]; of equal logits the lowest id. */
function greedyGraph(vocabSize: number): Uint8Array {
  const graph = new GraphBuilder('greedy');
  graph.input('logits', 'float32', ['R', vocabSize]);
  graph.output('token', 'int64', ['R']);
  graph.node({ op: 'ArgMax', inputs: ['logits'], attributes: { axis: -1, keepdims: 0 }, outputs: ['token'] });
  return graph.encode();
}

/** logits [R, V], temperature [R, 1] → probs [R, V], top_probs and top_ids [R, top]. */
function keyedGraph(vocabSize: number, top: number): Uint8Array {
  const graph = new GraphBuilder('keyed');
  graph.input('logits', 'float32', ['R', vocabSize]);
  graph.input('temperature', 'float32', ['R', 1]);
  graph.output('probs', 'float32', ['R', vocabSize]);
  graph.output('top_probs', 'float32', ['R', top]);
  graph.output('top_ids', 'int64', ['R', top]);
  const scaled = graph.node({ op: 'Div', inputs: ['logits', 'temperature'] });
  graph.node({ op: 'Softmax', inputs: [scaled], attributes: { axis: -1 }, outputs: ['probs'] });
  const count = graph.int64('top', [top]);
  graph.node({ op: 'TopK', inputs: ['probs', count], attributes: { axis: -1 }, outputs: ['top_probs', 'top_ids'] });
  return graph.encode();
}
