/**
 * Many requests on one engine: looks ahead only so far that the engine never lacks work, and yields what ends as it
 * ends. Knows no prompts and no fields.
 */
import { setImmediate } from 'node:timers/promises';
import { MillraceError } from '../../shared/errors.ts';
import type { Timings, Usage } from '../../shared/protocol.ts';
import type { EngineRequest, RequestEnd } from '../engine/messages.ts';
import { Bell } from './bell.ts';
import type { EngineRouter } from './engine-router.ts';
import { OutputBuilder, type CompletionOutput } from './outputs.ts';

/** How request number `index` of the source ended. */
export type BatchResult =
  | {
      readonly type: 'done';
      readonly index: number;
      readonly outputs: readonly CompletionOutput[];
      readonly usage: Usage;
      readonly timings: Timings;
    }
  | { readonly type: 'error'; readonly index: number; readonly error: MillraceError };

export interface BatchParts<TRequest> {
  readonly source: AsyncIterable<TRequest> | Iterable<TRequest>;
  readonly router: EngineRouter;
  /** Tokenizes; a MillraceError ends this request alone. */
  readonly make: (request: TRequest) => Omit<EngineRequest, 'id'>;
  /** Sequences that may be with the engine; as many more may wait for a slow consumer. */
  readonly lookAhead: number;
  readonly signal: AbortSignal | undefined;
}

/** The main thread tokenizes for so long before it listens to the engine again. */
const SLICE_MS = 10;

export class Batch<TRequest> {
  readonly #parts: BatchParts<TRequest>;
  readonly #bell = new Bell();
  /** Sequences of each request that is with the engine. */
  readonly #live = new Map<string, number>();
  readonly #ended: { readonly result: BatchResult; readonly sequences: number }[] = [];
  #liveSequences = 0;
  #endedSequences = 0;
  #sourceEnded = false;
  #closed = false;
  #failure: { readonly reason: unknown } | null = null;

  constructor(parts: BatchParts<TRequest>) {
    this.#parts = parts;
  }

  /** Throws when the engine or the source fails, or with the signal's reason; what has ended by then comes first. */
  async *results(): AsyncGenerator<BatchResult, void, undefined> {
    const { signal } = this.#parts;
    const onAbort = () => this.#fail(signal?.reason);
    signal?.addEventListener('abort', onAbort);
    if (signal?.aborted === true) onAbort();
    void this.#feed();
    try {
      for (;;) {
        const next = this.#ended.shift();
        if (next !== undefined) {
          this.#endedSequences -= next.sequences;
          this.#bell.ring();
          yield next.result;
        } else if (this.#failure !== null) throw this.#failure.reason;
        else if (this.#sourceEnded && this.#live.size === 0) return;
        else await this.#bell.wait();
      }
    } finally {
      signal?.removeEventListener('abort', onAbort);
      this.#close();
    }
  }

  async #feed(): Promise<void> {
    let index = 0;
    let sliceBegan = performance.now();
    try {
      for await (const request of this.#parts.source) {
        while (!this.#closed && !this.#hasRoom) await this.#bell.wait();
        if (this.#closed) return;
        this.#start(request, index++);
        if (performance.now() - sliceBegan < SLICE_MS) continue;
        await setImmediate();
        sliceBegan = performance.now();
      }
      this.#sourceEnded = true;
    } catch (thrown) {
      this.#fail(thrown);
    }
    this.#bell.ring();
  }

  /** Beyond what the engine may have, only results that nobody has taken yet count. */
  get #hasRoom(): boolean {
    const { lookAhead } = this.#parts;
    return this.#liveSequences < lookAhead && this.#liveSequences + this.#endedSequences < 2 * lookAhead;
  }

  #start(request: TRequest, index: number): void {
    const { make, router } = this.#parts;
    let made: Omit<EngineRequest, 'id'>;
    try {
      made = make(request);
    } catch (error) {
      if (!(error instanceof MillraceError)) throw error;
      this.#finish({ type: 'error', index, error }, 1);
      return;
    }
    const builder = new OutputBuilder();
    const id = router.submit(made, {
      delta: (delta) => builder.push(delta),
      end: (end) => {
        this.#forget(id);
        this.#finish(resultOf(end, index, builder), made.n);
      },
      fail: (error) => this.#fail(error),
    });
    this.#live.set(id, made.n);
    this.#liveSequences += made.n;
  }

  #forget(id: string): void {
    this.#liveSequences -= this.#live.get(id) ?? 0;
    this.#live.delete(id);
  }

  #finish(result: BatchResult, sequences: number): void {
    this.#ended.push({ result, sequences });
    this.#endedSequences += sequences;
    this.#bell.ring();
  }

  #fail(reason: unknown): void {
    this.#failure ??= { reason };
    this.#close();
  }

  /** Nothing more is fed, and what runs is cancelled. */
  #close(): void {
    this.#closed = true;
    for (const id of this.#live.keys()) this.#parts.router.cancel(id);
    this.#live.clear();
    this.#bell.ring();
  }
}

function resultOf(end: RequestEnd, index: number, builder: OutputBuilder): BatchResult {
  if (end.type === 'error') return { type: 'error', index, error: new MillraceError(end.code, end.message) };
  const { usage, timings } = end;
  return { type: 'done', index, outputs: builder.outputs(), usage, timings };
}
