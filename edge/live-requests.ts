/** The live requests of a gateway: each gets its frames; what is missing is asked for, what nobody wants is cancelled. Knows no NATS. */
import { MillraceError } from '../shared/errors.ts';
import type { FrameBatch } from '../shared/protocol.ts';
import type { LiveRequest } from './live-request.ts';
import type { ControlAnswer } from './worker-control.ts';

/** A reader that takes nothing for so long loses its stream. */
const SLOW_CLIENT_MS = 60_000;

/** What is asked of workers. */
export interface RequestControl {
  readonly cancel: (worker: string, id: string) => Promise<ControlAnswer>;
  readonly replay: (live: LiveRequest) => Promise<ControlAnswer>;
}

export class LiveRequests {
  readonly #control: RequestControl;
  readonly #live = new Map<string, LiveRequest>();
  /** What their worker sent has not all arrived. */
  readonly #behind = new Set<LiveRequest>();
  /** Asked for, not answered yet. */
  readonly #replaying = new Set<LiveRequest>();
  readonly #resuming = new Set<string>();
  readonly #cancelling = new Set<string>();

  constructor(control: RequestControl) {
    this.#control = control;
  }

  find(id: string): LiveRequest | undefined {
    return this.#live.get(id);
  }

  add(live: LiveRequest): void {
    this.#live.set(live.id, live);
  }

  remove(live: LiveRequest): void {
    if (this.#live.get(live.id) === live) this.#live.delete(live.id);
  }

  /** Takes the place of an earlier reader, once the worker has said that it has the stream. */
  async resume(live: LiveRequest): Promise<ControlAnswer> {
    const { id } = live;
    if (this.#resuming.has(id)) return 'silent';
    this.#resuming.add(id);
    const earlier = this.#live.get(id);
    // From before its first frame can come.
    this.add(live);
    this.#replaying.add(live);
    const answer = await this.#control.replay(live);
    this.#replaying.delete(live);
    this.#resuming.delete(id);
    if (answer === 'found') earlier?.fail(new MillraceError('stream_not_found', RESUMED), Date.now());
    else if (earlier !== undefined) {
      this.add(earlier);
      void this.catchUp(earlier);
    } else if (answer !== 'silent') this.remove(live);
    else {
      // Frames may come all the same, and the client again.
      live.detached = live.continues;
      void this.catchUp(live);
    }
    return answer;
  }

  /** Returns those that ended with it. `gap`: batches before this one are missing. */
  receive(
    batch: FrameBatch,
    { gap, nowMs }: { readonly gap: boolean; readonly nowMs: number },
  ): readonly LiveRequest[] {
    const ended: LiveRequest[] = [];
    const behind = new Set<LiveRequest>();
    for (const frame of batch.frames) {
      const live = this.#live.get(frame.id);
      const isWanted = live?.wanted === true && live.worker === batch.worker;
      if (!isWanted && frame.type === 'text-delta') void this.#cancelAgain(batch.worker, frame.id);
      if (live === undefined || live.ended || !live.runsOn(batch)) continue;
      if (!live.accept(frame, nowMs)) behind.add(live);
      if (live.ended) ended.push(live);
    }
    if (gap) for (const live of this.#live.values()) if (live.runsOn(batch)) behind.add(live);
    for (const live of behind) void this.catchUp(live);
    return ended;
  }

  /** Asks for what is missing, once at a time; where no answer comes, the next tick asks again. */
  async catchUp(live: LiveRequest): Promise<void> {
    this.#behind.add(live);
    if (this.#replaying.has(live)) return;
    this.#replaying.add(live);
    let answer: ControlAnswer = 'found';
    while (answer === 'found' && this.#isCurrent(live) && this.#behind.delete(live)) {
      answer = await this.#control.replay(live);
    }
    this.#replaying.delete(live);
    if (answer === 'unknown') live.fail(workerLost(), Date.now());
    else if (answer !== 'found') this.#behind.add(live);
  }

  /** Lets go of what has ended unread, and asks again. Returns the workers that have something to do. */
  tick(nowMs: number): ReadonlySet<string> {
    for (const live of this.#live.values()) {
      if (live.detached && live.ended) this.remove(live);
      else if (!live.detached && live.waitingSinceMs !== null && nowMs - live.waitingSinceMs > SLOW_CLIENT_MS)
        this.#dropSlow(live, nowMs);
    }
    for (const live of this.#behind) {
      if (this.#isCurrent(live)) void this.catchUp(live);
      else this.#behind.delete(live);
    }
    const running = [...this.#live.values()].filter(({ ended }) => !ended);
    return new Set(running.map(({ worker }) => worker));
  }

  /** What ran on the worker is lost, or what ran on this incarnation of it. */
  lose(worker: string, epoch: string | null): void {
    for (const live of this.#live.values()) {
      if (live.worker === worker && (epoch === null || live.epoch === epoch)) live.fail(workerLost(), Date.now());
    }
  }

  #isCurrent(live: LiveRequest): boolean {
    return !live.ended && this.#live.get(live.id) === live;
  }

  /** A cancel may have been lost, and the worker goes on. */
  async #cancelAgain(worker: string, id: string): Promise<void> {
    const key = `${worker} ${id}`;
    if (this.#cancelling.has(key)) return;
    this.#cancelling.add(key);
    await this.#control.cancel(worker, id);
    this.#cancelling.delete(key);
  }

  #dropSlow(live: LiveRequest, nowMs: number): void {
    if (live.continues && !live.ended) this.add(live.withoutClient());
    else {
      this.remove(live);
      if (!live.ended) void this.#control.cancel(live.worker, live.id);
    }
    live.fail(new MillraceError('slow_client', 'The stream was not read for too long.'), nowMs);
  }
}

const RESUMED = 'The stream was resumed elsewhere.';

function workerLost(): MillraceError {
  return new MillraceError('worker_lost', 'The worker of this request was lost.');
}
