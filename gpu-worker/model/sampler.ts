/** Draws tokens from the logits buffer by each row's own spec, with log probabilities where asked for. Knows no model. */
import type { RowFailures, SampleSpec, TokenLogprobs } from '../engine/step-plan.ts';
import { applyRules } from '../sample/apply-rules.ts';
import { drawKeyed, truncates } from '../sample/keyed.ts';
import type { ProbRow } from '../sample/keyed.ts';
import { drawKey } from '../sample/noise.ts';
import { uniformFloat32, Xoshiro128 } from '../sample/random.ts';
import type { RandomSource } from '../sample/random.ts';
import { dividingTemperature } from '../sample/temperature.ts';
import { RowSession } from './row-session.ts';
import { Memory } from './runtime/memory.ts';
import { bulkGraph, greedyGraph, keyedGraph, logprobsGraph, sumGraph } from './sampling-graphs.ts';
import type { RowGraph } from './sampling-graphs.ts';
import type { GraphTarget } from './vocabulary-blocks.ts';

/** Candidates that the exact keyed draw looks at before the tail. */
const TOP = 64;
/** Most alternatives that a draw reports. */
const TOP_LOGPROBS = 20;
/** Logits that pass through the graphs at once: they stay in the core's cache from one graph to the next. */
const CHUNK_LOGITS = 65_536;

/** One row of logits to draw from. */
export interface DrawTarget {
  /** Index of the row in its plan. */
  readonly row: number;
  readonly spec: SampleSpec;
  /** Tokens drafted before this draw in the same row, empty for the first: its output index is `spec.index` + their number. */
  readonly drafts: Int32Array;
  /** Tokens drawn before this row that its rules' history does not have yet; by default none. */
  readonly unseen?: Int32Array;
}

const NO_TOKENS = new Int32Array();

/** Output before the draw that its rules' history does not have. */
export function sinceHistory({ drafts, unseen = NO_TOKENS }: DrawTarget): Int32Array {
  return unseen.length === 0 ? drafts : Int32Array.of(...unseen, ...drafts);
}

export interface Draws {
  /** [targets] */
  readonly tokens: Int32Array;
  /** [targets]; null when none asked. */
  readonly logprobs: readonly (TokenLogprobs | null)[] | null;
  /** Rows of the plan that cannot go on, and why: logits that are not finite, or rules that forbid every token. */
  readonly failures: RowFailures;
}

/** Where logits lie, and what runs graphs over them. */
export interface SamplerBackend {
  readonly target: GraphTarget;
  /** Of the first row of logits, float32 [maxRows, V]. */
  readonly logits: bigint;
  /** Rows that pass through the graphs at once. */
  readonly chunkRows: number;
  /** [V] of one row, on the host. */
  row(index: number): Float32Array;
  /** The row's values were changed on the host. */
  changed(index: number): void;
  /** One value of a row. */
  value(index: number, id: number): number;
  /**
   * Applies rules where the logits are: row `first` + i is for `targets[i]`. Returns the targets whose rules it leaves
   * to the host; by default all.
   */
  applyRules?(targets: readonly DrawTarget[], first: number): Iterable<number>;
  open(graph: RowGraph, maxRows: number): RowGraphRunner;
  free(): void;
}

/** A graph over rows of logits; see `RowSession`. */
export interface RowGraphRunner {
  run(logits: bigint, rows: number): void;
  floats(name: string, row: number): Float32Array;
  ints(name: string, row: number): Int32Array;
  free(): void;
}

export interface SamplerOptions {
  readonly vocabSize: number;
  readonly maxRows: number;
  /** By default this machine's memory and processor. */
  readonly backend?: SamplerBackend;
  /** For unseeded rows; by default seeded from the system's entropy. */
  readonly random?: RandomSource;
}

/** Unseeded rows that nothing truncates draw by inverse CDF in the graph, all others of temperature > 0 with keyed noise. */
type Method = 'greedy' | 'keyed' | 'bulk';

function methodOf(spec: SampleSpec): Method {
  if (spec.temperature === 0) return 'greedy';
  return spec.seed === null && !truncates(spec) ? 'bulk' : 'keyed';
}

export class Sampler {
  readonly #vocabSize: number;
  readonly #maxRows: number;
  readonly #backend: SamplerBackend;
  readonly #random: RandomSource;
  readonly #sum: RowGraphRunner;
  readonly #greedy: RowGraphRunner;
  readonly #keyed: RowGraphRunner;
  readonly #bulk: RowGraphRunner;
  readonly #logprobs: RowGraphRunner;

  constructor(options: SamplerOptions) {
    const {
      vocabSize,
      maxRows,
      random = Xoshiro128.fromEntropy(),
      backend = hostBackend(vocabSize, maxRows),
    } = options;
    this.#vocabSize = vocabSize;
    this.#maxRows = maxRows;
    this.#random = random;
    this.#backend = backend;
    const { target } = backend;
    const open = (graph: RowGraph): RowGraphRunner => backend.open(graph, backend.chunkRows);
    this.#sum = open(sumGraph(vocabSize));
    this.#greedy = open(greedyGraph(vocabSize, target));
    this.#keyed = open(keyedGraph(vocabSize, Math.min(TOP, vocabSize)));
    this.#bulk = open(bulkGraph(vocabSize, target));
    this.#logprobs = open(logprobsGraph(vocabSize, { top: Math.min(TOP_LOGPROBS, vocabSize), target }));
  }

  /** Of [maxRows, V] float32: the model writes row i for `targets[i]`; `sample` applies the rules in place. */
  get logits(): bigint {
    return this.#backend.logits;
  }

  /** [V] of the logits' row `index`, on the host. */
  row(index: number): Float32Array {
    return this.#backend.row(index);
  }

  /** `targets[i]` says how to draw from logits row i. */
  sample(targets: readonly DrawTarget[]): Draws {
    if (targets.length > this.#maxRows) throw new RangeError(`${targets.length} draws, at most ${this.#maxRows}`);
    const tokens = new Int32Array(targets.length);
    const logprobs = targets.map(() => null as TokenLogprobs | null);
    const failures = new Map<number, string>();
    for (let first = 0; first < targets.length; first += this.#backend.chunkRows) {
      const chunk = this.#chunk(targets, first);
      this.#checkFinite(chunk, failures);
      if (chunk.targets.some(asksLogprobs)) this.#logprobs.run(chunk.pointer, chunk.targets.length);
      this.#applyRules(chunk);
      const drawn = tokens.subarray(first, first + chunk.targets.length);
      this.#drawChunk(chunk, drawn, failures);
      chunk.targets.forEach((target, i) => {
        if (asksLogprobs(target)) logprobs[first + i] = this.#logprobsOf(i, drawn[i] ?? 0, target.spec.logprobs ?? 0);
      });
    }
    return { tokens, logprobs: targets.some(asksLogprobs) ? logprobs : null, failures };
  }

  free(): void {
    for (const session of [this.#sum, this.#greedy, this.#keyed, this.#bulk, this.#logprobs]) session.free();
    this.#backend.free();
  }

  #chunk(targets: readonly DrawTarget[], first: number): Chunk {
    const bytes = this.#vocabSize * 4;
    return {
      targets: targets.slice(first, first + this.#backend.chunkRows),
      pointer: this.#backend.logits + BigInt(first * bytes),
      first,
    };
  }

  /** Before rules, which forbid tokens by −Infinity. */
  #checkFinite({ targets, pointer }: Chunk, failures: Map<number, string>): void {
    this.#sum.run(pointer, targets.length);
    targets.forEach(({ row }, i) => {
      if (!Number.isFinite(this.#sum.floats('sum', i)[0]))
        failures.set(row, 'the model gave logits that are not finite');
    });
  }

  #applyRules({ targets, first }: Chunk): void {
    const left = this.#backend.applyRules?.(targets, first) ?? targets.keys();
    for (const i of left) {
      const target = targets[i];
      if (target === undefined || target.spec.rules === null) continue;
      const { spec, drafts } = target;
      const point = { index: spec.index + drafts.length, drafts: sinceHistory(target) };
      applyRules(this.#backend.row(first + i), target.spec.rules, point);
      this.#backend.changed(first + i);
    }
  }

  #drawChunk(chunk: Chunk, tokens: Int32Array, failures: Map<number, string>): void {
    const methods = chunk.targets.map(({ spec }) => methodOf(spec));
    if (methods.includes('greedy')) this.#greedy.run(chunk.pointer, methods.length);
    if (methods.includes('keyed')) this.#runKeyed(chunk);
    if (methods.includes('bulk')) this.#runBulk(chunk);
    chunk.targets.forEach((target, i) => {
      if (failures.has(target.row)) return;
      const token = this.#tokenOf(target, methods[i] ?? 'greedy', i);
      // Only where rules leave nothing to draw does a token at −Infinity come back.
      const { rules } = target.spec;
      const mayForbidAll = rules !== null && (rules.mask !== null || rules.forbidden !== null);
      if (mayForbidAll && this.#backend.value(chunk.first + i, token) === -Infinity)
        failures.set(target.row, 'rules forbid every token');
      else tokens[i] = token;
    });
  }

  #runKeyed({ targets, pointer }: Chunk): void {
    targets.forEach(({ spec }, i) => (this.#keyed.floats('temperature', i)[0] = softmaxTemperature(spec)));
    this.#keyed.run(pointer, targets.length);
  }

  #runBulk({ targets, pointer }: Chunk): void {
    targets.forEach(({ spec }, i) => {
      this.#bulk.floats('temperature', i)[0] = softmaxTemperature(spec);
      this.#bulk.floats('block_uniform', i)[0] = uniformFloat32(this.#random);
      this.#bulk.floats('token_uniform', i)[0] = uniformFloat32(this.#random);
    });
    this.#bulk.run(pointer, targets.length);
  }

  /** Row i of the graph that ran for the method. */
  #tokenOf({ spec, drafts }: DrawTarget, method: Method, i: number): number {
    if (method === 'greedy') return this.#greedy.ints('token', i)[0] ?? 0;
    if (method === 'bulk') return this.#bulk.ints('token', i)[0] ?? 0;
    const keyed = this.#keyed;
    let probs: Float32Array | null = null;
    const row: ProbRow = {
      vocabSize: this.#vocabSize,
      // A GPU's have to be copied.
      get probs() {
        return (probs ??= keyed.floats('probs', i));
      },
      topProbs: keyed.floats('top_probs', i),
      topIds: keyed.ints('top_ids', i),
    };
    const index = spec.index + drafts.length;
    const key = spec.seed === null ? this.#random.uint32() : drawKey(spec.seed, spec.choice, index);
    return drawKeyed(row, spec, key);
  }

  #logprobsOf(i: number, token: number, count: number): TokenLogprobs {
    const ids = this.#logprobs.ints('top_ids', i);
    const values = this.#logprobs.floats('top_logprobs', i);
    const top = Array.from(ids.subarray(0, count), (id, at) => ({ id, logprob: values[at] ?? 0 }));
    const place = ids.indexOf(token);
    const logprob = place >= 0 ? values[place] : this.#logprobs.floats('logprobs', i)[token];
    return { logprob: logprob ?? 0, top };
  }
}

/** Targets whose logits go through the graphs together. */
interface Chunk {
  readonly targets: readonly DrawTarget[];
  /** Of the first target's logits. */
  readonly pointer: bigint;
  /** Row of the first target's logits. */
  readonly first: number;
}

function hostBackend(vocabSize: number, maxRows: number): SamplerBackend {
  const memory = Memory.allocate(maxRows * vocabSize * 4);
  return {
    target: 'cpu',
    logits: memory.pointer,
    chunkRows: Math.min(maxRows, Math.max(1, Math.floor(CHUNK_LOGITS / vocabSize))),
    row: (index) => new Float32Array(memory.buffer, index * vocabSize * 4, vocabSize),
    changed: () => {},
    value: (index, id) => new Float32Array(memory.buffer, (index * vocabSize + id) * 4, 1)[0] ?? NaN,
    open: (graph, rows) => new RowSession(graph, rows),
    free: () => memory.free(),
  };
}

function asksLogprobs({ spec }: DrawTarget): boolean {
  return spec.logprobs !== null;
}

/** Greedy rows pass through unread. */
function softmaxTemperature({ temperature }: SampleSpec): number {
  return temperature === 0 ? 1 : dividingTemperature(temperature);
}
