/** One request's frames, put in order, once: what waits to be written to its client. Knows no NATS and no HTTP. */
import type { FinishReason, Frame, FrameBatch, Timings, Usage } from '../shared/protocol.ts';
import { MillraceError } from '../shared/errors.ts';

export interface Pending {
  /** Text since the last take; deltas that waited are merged. */
  readonly text: string;
  /** Output tokens delivered up to and with this text. */
  readonly offset: number;
  readonly finishReason: FinishReason | null;
  readonly end: { readonly usage: Usage; readonly timings: Timings | null } | null;
  readonly error: MillraceError | null;
}

export class LiveRequest {
  readonly id: string;
  readonly attempt: number;
  readonly worker: string;
  /** The client asked to stop: the abort that follows is a normal end. */
  stopping = false;
  /** Its client left: nobody reads, and nobody is too slow. */
  detached = false;
  #epoch: string;
  #offset: number;
  #text = '';
  #finish: FinishReason | null = null;
  #end: Pending['end'] = null;
  #error: MillraceError | null = null;
  #fresh = false;
  #shown = false;
  #wake: (() => void) | null = null;
  #waitingSinceMs: number | null = null;

  constructor(head: {
    readonly id: string;
    readonly attempt: number;
    readonly worker: string;
    readonly epoch: string;
    readonly offset: number;
  }) {
    this.id = head.id;
    this.attempt = head.attempt;
    this.worker = head.worker;
    this.#epoch = head.epoch;
    this.#offset = head.offset;
  }

  /** Output tokens received: where a replay goes on. */
  get offset(): number {
    return this.#offset;
  }

  get ended(): boolean {
    return this.#end !== null || this.#error !== null;
  }

  /** Since when there is something that nobody takes; null when nothing waits. */
  get waitingSinceMs(): number | null {
    return this.#waitingSinceMs;
  }

  /** Incarnation of the worker that runs it. */
  get epoch(): string {
    return this.#epoch;
  }

  /** An older incarnation of the same worker is not its worker. */
  runsOn({ worker, epoch }: Pick<FrameBatch, 'worker' | 'epoch'>): boolean {
    return worker === this.worker && epoch === this.#epoch;
  }

  /** True: the worker has started anew since its last heartbeat, so frames may have been fenced off. */
  renew(epoch: string): boolean {
    const renewed = epoch !== this.#epoch;
    this.#epoch = epoch;
    return renewed;
  }

  /** False: tokens before this frame are missing, so ask for a replay. Old and doubled frames are dropped. */
  accept(frame: Frame, nowMs: number): boolean {
    if (frame.attempt !== this.attempt || this.ended) return true;
    if (frame.type === 'text-delta') {
      const skip = this.#offset - frame.offset;
      if (skip < 0) return false;
      if (skip >= frame.ids.length) return true;
      this.#text += frame.pieces.slice(skip).join('');
      this.#offset = frame.offset + frame.ids.length;
    } else if (frame.type === 'choice-end') {
      this.#finish = frame.finishReason;
    } else if (frame.type === 'stream-end') {
      // A lost last delta shows here at the latest.
      if (frame.usage.completionTokens > this.#offset) return false;
      this.#end = { usage: frame.usage, timings: frame.timings };
    } else if (this.stopping && frame.code === 'request_cancelled') {
      this.#finish = 'stop';
      this.#end = {
        usage: frame.usage ?? { promptTokens: 0, completionTokens: this.#offset, cachedTokens: 0 },
        timings: null,
      };
    } else {
      this.#error = new MillraceError(frame.code, frame.message);
    }
    this.#ring(nowMs);
    return true;
  }

  fail(error: MillraceError, nowMs: number): void {
    if (this.ended) return;
    this.#error = error;
    this.#ring(nowMs);
  }

  /** Resolves true when something waits, false after `timeoutMs`. */
  async wait(timeoutMs: number): Promise<boolean> {
    if (this.#fresh) return true;
    let timer: ReturnType<typeof setTimeout> | null = null;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      timer = setTimeout(resolve, timeoutMs);
    });
    if (timer !== null) clearTimeout(timer);
    this.#wake = null;
    return this.#fresh;
  }

  /** The error, when nothing was received before it. */
  peekError(): MillraceError | null {
    return this.#text === '' && !this.#shown ? this.#error : null;
  }

  take(): Pending {
    this.#shown = true;
    const pending = {
      text: this.#text,
      offset: this.#offset,
      finishReason: this.#finish,
      end: this.#end,
      error: this.#error,
    };
    this.#text = '';
    this.#fresh = false;
    this.#waitingSinceMs = null;
    return pending;
  }

  #ring(nowMs: number): void {
    this.#fresh = true;
    this.#waitingSinceMs ??= nowMs;
    this.#wake?.();
  }
}
