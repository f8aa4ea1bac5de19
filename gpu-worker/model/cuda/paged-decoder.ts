/** Runs parts of a step through the paged graph: pure decodes as CUDA graphs by bucket, the others kernel by kernel. Knows no plan. */
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

interface CapturedRun {
  readonly binding: Binding;
  readonly options: RunOptions;
  readonly bounds: Memory;
}

export class PagedDecoder {
  readonly #session: Session;
  readonly #memory: StepMemory;
  #kv: KvBlocks;
  #eager: CapturedRun;
  readonly #captured = new Map<number, CapturedRun>();

  constructor(graph: PagedGraph, { cuda, memory, kv }: { cuda: Cuda; memory: StepMemory; kv: KvBlocks }) {
    this.#memory = memory;
    this.#kv = kv;
    this.#session = new Session(graph.model, {
      threads: 1,
      initializers: graph.initializers,
      cuda: { device: cuda.device, stream: cuda.stream, graphs: true },
    });
    this.#eager = this.#prepare(null);
  }

  /** Every graph captured so far reads the old cache and is never replayed. */
  useKv(kv: KvBlocks): void {
    this.#forget();
    this.#kv = kv;
    this.#eager = this.#prepare(null);
  }

  /** Queued on the stream. */
  run(shape: PartShape, layout: PartLayout, bounds: RunBounds): void {
    this.#bind(this.#eager, shape, layout);
    this.#setBounds(this.#eager, bounds);
    this.#eager.binding.run(this.#eager.options);
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
      run = this.#prepare(id);
      this.#bind(run, part.shape, part.layout);
      this.#setBounds(run, part.bounds);
      this.#captured.set(id, run);
    }
    run.binding.run(run.options);
  }

  release(): void {
    this.#forget();
    this.#session.release();
  }

  #forget(): void {
    for (const { binding, options, bounds } of [this.#eager, ...this.#captured.values()]) {
      binding.release();
      options.release();
      bounds.free();
    }
    this.#captured.clear();
  }

  #prepare(graph: number | null): CapturedRun {
    const binding = this.#session.bind();
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
