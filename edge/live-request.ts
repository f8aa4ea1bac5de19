/** One request's frames, put in order, once: what waits to be written to its client. Knows no NATS and no HTTP. */
import { NO_USAGE, type Frame, type FrameBatch, type Timings, type Usage } from '../shared/protocol.ts';
import { MillraceError } from '../shared/errors.ts';
import { ChoiceOutput, type ChoicePart } from './choice-output.ts';

export interface Pending {
  /** Of all choices, in order: what came since the last take. */
  readonly choices: readonly ChoicePart[];
  readonly end: { readonly usage: Usage; readonly timings: Timings | null } | null;
  readonly error: MillraceError | null;
}

export interface LiveRequestHead {
  readonly id: string;
  readonly attempt: number;
  readonly worker: string;
  readonly epoch: string;
  /** One for each choice: output tokens that the client has had. */
  readonly offsets: readonly number[];
  /** Its client takes everything in one piece: nothing waits before the end. */
  readonly whole: boolean;
  /** It goes on without its client. */
  readonly continues: boolean;
  /** The client has asked to stop already. */
  readonly stopping?: boolean;
}

export class LiveRequest {
  readonly id: string;
  readonly attempt: number;
  readonly worker: string;
  readonly startOffsets: readonly number[];
  readonly continues: boolean;
  /** The client asked to stop: the abort that follows is a normal end. */
  stopping: boolean;
  /** Its client left: nobody reads, and nobody is too slow. */
  detached = false;
  #epoch: string;
  readonly #choices: readonly ChoiceOutput[];
  readonly #whole: boolean;
  #end: Pending['end'] = null;
  #error: MillraceError | null = null;
  #fresh = false;
  #shown = false;
  #wake: (() => void) | null = null;
  #waitingSinceMs: number | null = null;

  constructor(head: LiveRequestHead) {
    this.id = head.id;
    this.attempt = head.attempt;
    this.worker = head.worker;
    this.startOffsets = head.offsets;
    this.continues = head.continues;
    this.stopping = head.stopping ?? false;
    this.#epoch = head.epoch;
    this.#choices = head.offsets.map((offset) => new ChoiceOutput(offset));
    this.#whole = head.whole;
  }

  /** Output tokens received of each choice: where a replay goes on. */
  get offsets(): readonly number[] {
    return this.#choices.map(({ offset }) => offset);
  }

  get ended(): boolean {
    return this.#end !== null || this.#error !== null;
  }

  /** Whether what its worker still computes is for anybody. */
  get wanted(): boolean {
    return !this.ended && (!this.detached || this.continues);
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
      const fresh = this.#choices[frame.choice]?.accept(frame);
      if (fresh === null) return false;
      if (fresh === undefined || fresh === 0) return true;
    } else if (frame.type === 'choice-end') {
      const choice = this.#choices[frame.choice];
      if (choice === undefined || choice.finish !== null) return true;
      if (!choice.end(frame.tokens, frame.finishReason)) return false;
    } else if (frame.type === 'stream-end') {
      // A lost last delta or finish shows here at the latest.
      if (frame.usage.completionTokens > this.#received || !this.#finished) return false;
      this.#end = { usage: frame.usage, timings: frame.timings };
    } else if (this.stopping && frame.code === 'request_cancelled') {
      if ((frame.usage?.completionTokens ?? 0) > this.#received) return false;
      for (const choice of this.#choices) choice.finish ??= 'stop';
      this.#end = { usage: frame.usage ?? { ...NO_USAGE, completionTokens: this.#received }, timings: null };
    } else {
      this.#error = new MillraceError(frame.code, frame.message);
    }
    if (!this.#whole || this.ended) this.#ring(nowMs);
    return true;
  }

  /** The same stream from here on, for nobody. */
  withoutClient(): LiveRequest {
    const { id, attempt, worker, epoch, offsets, continues, stopping } = this;
    const alone = new LiveRequest({ id, attempt, worker, epoch, offsets, whole: false, continues, stopping });
    alone.detached = true;
    return alone;
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
    return this.#shown || this.#choices.some(({ waiting }) => waiting) ? null : this.#error;
  }

  take(): Pending {
    this.#shown = true;
    this.#fresh = false;
    this.#waitingSinceMs = null;
    return { choices: this.#choices.map((choice) => choice.take()), end: this.#end, error: this.#error };
  }

  get #received(): number {
    return this.#choices.reduce((sum, { offset }) => sum + offset, 0);
  }

  get #finished(): boolean {
    return this.#choices.every(({ finish }) => finish !== null);
  }

  #ring(nowMs: number): void {
    this.#fresh = true;
    this.#waitingSinceMs ??= nowMs;
    this.#wake?.();
  }
}
