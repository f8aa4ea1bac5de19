/** Runs parts of a step through the paged graph: pure decodes as CUDA graphs by bucket, the others kernel by kernel. Knows no plan. */
import type { CudaSettings } from '../runtime/cuda-provider.ts';
import type { Cuda } from '../runtime/cudart.ts';
import { Memory } from '../runtime/memory.ts';
import { RunOptions, Session } from '../runtime/session.ts';
import type { Binding } from '../runtime/session.ts';
import { graphId } from './buckets.ts';
import type { Bucket, BucketLimits } from './buckets.ts';
import type { KvBlocks } from './kv-blocks.ts';
import type { PagedGraph } from './paged-graph.ts';
import type { PartLayout, PartShape } from './plan-inputs.ts';
import type { StepMemory } from './step-memory.ts';

const BOUNDS = 3;

/** What of a run's lengths the host must know. */
export interface RunBounds {
  /** The most tokens of a sequence in the run, and the most of one after it. */
  readonly longestRow: number;
  readonly longestTotal: number;
}

/** A graph, and how many rows its decode steps have at most. */
export interface SizedGraph extends PagedGraph {
  readonly maxRows: number;
}

interface SizedSession {
  readonly session: Session;
  readonly maxRows: number;
  readonly eager: CapturedRun;
}

interface CapturedRun {
  readonly binding: Binding;
  readonly options: RunOptions;
  readonly bounds: Memory;
}

export class PagedDecoder {
  readonly #memory: StepMemory;
  /** Fewest rows first; the last one runs everything. */
  #sessions: readonly SizedSession[] = [];
  readonly #captured = new Map<number, CapturedRun>();
  readonly #settings: CudaSettings;
  #kv: KvBlocks;

  constructor({ cuda, memory, kv }: { cuda: Cuda; memory: StepMemory; kv: KvBlocks }) {
    this.#memory = memory;
    this.#kv = kv;
    this.#settings = { device: cuda.device, stream: cuda.stream, graphs: true };
  }

  /** Sessions are added in the order of their rows. */
  add({ model, initializers, maxRows }: SizedGraph, config: Readonly<Record<string, string>> = {}): void {
    const session = new Session(model, { threads: 1, initializers, config, cuda: this.#settings });
    this.#sessions = [...this.#sessions, { session, maxRows, eager: this.#prepare(session, null) }];
  }

  /** The most rows of a decode step of each session. */
  get sizes(): readonly number[] {
    return this.#sessions.map(({ maxRows }) => maxRows);
  }

  /** Every graph captured so far reads the old cache and is never replayed. */
  useKv(kv: KvBlocks): void {
    this.#forget();
    this.#kv = kv;
    this.#sessions = this.#sessions.map((each) => ({ ...each, eager: this.#prepare(each.session, null) }));
  }

  /** Queued on the stream. */
  run(shape: PartShape, layout: PartLayout, bounds: RunBounds): void {
    const { eager } = this.#sessionFor(shape);
    this.#bind(eager, shape, layout);
    this.#setBounds(eager, bounds);
    eager.binding.run(eager.options);
  }

  /** The same for a bucket's shape; captures its graph the first time, which runs the part more than once. */
  replay(
    bucket: Bucket,
    limits: BucketLimits,
    part: { shape: PartShape; layout: PartLayout; bounds: RunBounds },
  ): void {
    const id = graphId(bucket, limits);
    let run = this.#captured.get(id);
    if (run === undefined) {
      run = this.#prepare(this.#sessionFor(part.shape).session, id);
      this.#bind(run, part.shape, part.layout);
      this.#setBounds(run, part.bounds);
      this.#captured.set(id, run);
    }
    run.binding.run(run.options);
  }

  release(): void {
    this.#forget();
    for (const { session } of this.#sessions) session.release();
  }

  #forget(): void {
    const eager = this.#sessions.map((each) => each.eager);
    for (const { binding, options, bounds } of [...eager, ...this.#captured.values()]) {
      binding.release();
      options.release();
      bounds.free();
    }
    this.#captured.clear();
  }

  /** One token in every row: the session for so many rows. Anything else: the last one. */
  #sessionFor({ tokens, sequences }: PartShape): SizedSession {
    const few = tokens === sequences ? this.#sessions.find(({ maxRows }) => maxRows >= tokens) : undefined;
    const chosen = few ?? this.#sessions.at(-1);
    if (chosen === undefined) throw new Error('a decoder without a session');
    return chosen;
  }

  #prepare(session: Session, graph: number | null): CapturedRun {
    const binding = session.bind();
    this.#kv.bind(binding);
    return { binding, options: new RunOptions(graph), bounds: Memory.allocate(BOUNDS * 4) };
  }

  #bind({ binding, bounds }: CapturedRun, shape: PartShape, layout: PartLayout): void {
    const { tokens, sequences, width, logits } = shape;
    const input = (name: string, at: number, sizes: readonly number[]): void =>
      binding.input(name, this.#memory.input(at, 'int32', sizes));
    binding.input('words', this.#memory.words);
    input('index', layout.index, [tokens]);
    input('slots', layout.slots, [tokens]);
    input('cumulative', layout.cumulative, [sequences + 1]);
    input('past', layout.past, [sequences]);
    input('block_table', layout.blockTable, [sequences, width]);
    input('rows', layout.rows, [logits]);
    binding.input('bounds', { pointer: bounds.pointer, type: 'int32', shape: [BOUNDS] });
    binding.output('logits', this.#memory.logits(logits));
  }

  /** Read on the host while the run is queued, or once and for all while it is captured. */
  #setBounds({ bounds }: CapturedRun, { longestRow, longestTotal }: RunBounds): void {
    new Int32Array(bounds.buffer, 0, BOUNDS).set([longestRow, longestTotal, 0]);
  }
}
