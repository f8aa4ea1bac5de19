/** One request's output while it is generated; deltas that nobody has taken are merged. Knows no prompts. */
import { MillraceError } from '../../shared/errors.ts';
import type { ChoiceDelta, EngineRequest, RequestEnd } from '../engine/messages.ts';
import { Bell } from './bell.ts';
import type { EngineRouter, RequestSink } from './engine-router.ts';
import { merged, toStreamDelta, type StreamDelta } from './outputs.ts';

const NOTHING: StreamDelta = {
  ...{ index: 0, text: '', tokenIds: [], reasoning: null, logprobs: null, finishReason: null, end: null },
};

export class DeltaStream implements RequestSink {
  readonly #bell = new Bell();
  /** At most one for each choice. */
  readonly #waiting = new Map<number, StreamDelta>();
  #end: StreamDelta['end'] = null;
  #failure: { readonly reason: unknown } | null = null;

  delta(delta: ChoiceDelta): void {
    const next = toStreamDelta(delta);
    const before = this.#waiting.get(next.index);
    this.#waiting.set(next.index, before === undefined ? next : merged(before, next));
    this.#bell.ring();
  }

  end(end: RequestEnd): void {
    if (end.type === 'error') this.fail(new MillraceError(end.code, end.message));
    else {
      this.#end = { usage: end.usage, timings: end.timings };
      if (this.#waiting.size === 0) this.#waiting.set(0, { ...NOTHING, end: this.#end });
    }
    this.#bell.ring();
  }

  fail(reason: unknown): void {
    this.#failure ??= { reason };
    this.#bell.ring();
  }

  /** Leaving the loop early cancels the request. */
  async *deltas(
    router: EngineRouter,
    make: () => Omit<EngineRequest, 'id'>,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<StreamDelta, void, undefined> {
    signal?.throwIfAborted();
    const id = router.submit(make(), this);
    const onAbort = () => {
      router.cancel(id);
      this.fail(signal?.reason);
    };
    signal?.addEventListener('abort', onAbort);
    try {
      for (;;) {
        const next = this.#take();
        if (next !== null) yield next;
        if (next !== null && next.end !== null) return;
        if (next !== null) continue;
        if (this.#failure !== null) throw this.#failure.reason;
        await this.#bell.wait();
      }
    } finally {
      signal?.removeEventListener('abort', onAbort);
      router.cancel(id);
    }
  }

  /** The oldest that waits; the last of all has the end. */
  #take(): StreamDelta | null {
    const next = this.#waiting.values().next().value;
    if (next === undefined) return null;
    this.#waiting.delete(next.index);
    return this.#waiting.size === 0 ? { ...next, end: this.#end } : next;
  }
}
