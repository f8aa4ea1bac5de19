/** Fills a layout with all threads: the caller and helpers take units in turn until none is left. Blocks; knows no cache. */
import { Worker } from 'node:worker_threads';
import type { WeightLayout } from '../weight-plan.ts';
import type { WeightSource } from '../weights.ts';
import { fileSink, fillUnit, fillUnits, memorySink, unitBytes } from './fill.ts';
import type { FillUnit, Sink } from './fill.ts';
import { WorkBoard } from './work-board.ts';

/** Where the bytes go. Structured-cloneable: a descriptor and a pointer mean the same in every thread of a process. */
export type FillTarget =
  | { readonly type: 'file'; readonly descriptor: number; readonly start: number }
  | { readonly type: 'memory'; readonly pointer: bigint; readonly bytes: number };

/** Of weights read and rounded, as float32. */
export interface FillProgress {
  readonly doneBytes: number;
  readonly totalBytes: number;
}

export interface FillOptions {
  readonly source: WeightSource;
  /** Helpers open it for themselves; null: `source` is not a folder's, so the caller works alone. */
  readonly folder: string | null;
  readonly target: FillTarget;
  /** The caller's among them. */
  readonly threads: number;
  readonly onProgress: (progress: FillProgress) => void;
}

/** What a helper is started with. */
export interface HelperData {
  readonly folder: string;
  readonly layout: WeightLayout;
  readonly target: FillTarget;
  readonly board: SharedArrayBuffer;
}

/** Float32 bytes to round; less than that is nearly done before a helper has started. */
const LEAST_SHARED_BYTES = 48 << 20;
/** Copying float32 takes so much less. */
const COPY_WORK = 1 / 8;
const PROGRESS_MS = 100;

/** `buffer`: the target's memory, if it is one. */
export function fillAll(layout: WeightLayout, buffer: ArrayBuffer | null, options: FillOptions): void {
  const units = fillUnits(layout);
  const board = new WorkBoard(units.length);
  const { folder, target, threads } = options;
  const sink = sinkOf(target, buffer);
  const fill = (unit: FillUnit) => fillPlanned(options.source, layout, { ...unit, sink });
  const total = units.reduce((sum, unit) => sum + unitBytes(layout, unit), 0);
  const report = progressReport(options, () => (total * board.done) / Math.max(1, units.length), total);
  const helpers = folder === null || workBytes(layout, units) < LEAST_SHARED_BYTES ? 0 : threads - 1;
  const workers = Array.from({ length: helpers }, () => {
    const workerData = { folder: folder ?? '', layout, target, board: board.memory } satisfies HelperData;
    return new Worker(new URL('./fill-thread.ts', import.meta.url), { workerData, name: 'quantize' });
  });
  // A helper that cannot run takes no unit, or leaves it to the caller, who then meets the error himself.
  for (const worker of workers) worker.on('error', () => {}).unref();
  try {
    board.work((index) => {
      const unit = units[index];
      if (unit !== undefined) fill(unit);
      report();
    });
    for (const index of board.waitForOthers(PROGRESS_MS, report)) {
      const unit = units[index];
      if (unit !== undefined) fill(unit);
    }
    report.end();
  } finally {
    board.close();
  }
}

function workBytes(layout: WeightLayout, units: readonly FillUnit[]): number {
  const share = (unit: FillUnit) => (layout.stacks[unit.stack]?.scheme === null ? COPY_WORK : 1);
  return units.reduce((sum, unit) => sum + share(unit) * unitBytes(layout, unit), 0);
}

export function sinkOf(target: FillTarget, buffer: ArrayBuffer | null): Sink {
  if (target.type === 'file') return fileSink(target.descriptor, target.start);
  if (buffer === null) throw new Error('memory without a buffer');
  return memorySink(buffer);
}

export function fillPlanned(source: WeightSource, layout: WeightLayout, unit: FillUnit & { sink: Sink }): void {
  const stack = layout.stacks[unit.stack];
  if (stack === undefined) throw new RangeError(`no stack ${unit.stack}`);
  fillUnit(source, stack, unit);
}

function progressReport({ onProgress }: FillOptions, done: () => number, totalBytes: number) {
  let last = -Infinity;
  const report = () => {
    if (performance.now() - last < PROGRESS_MS) return;
    last = performance.now();
    onProgress({ doneBytes: Math.round(done()), totalBytes });
  };
  return Object.assign(report, { end: () => onProgress({ doneBytes: totalBytes, totalBytes }) });
}
