/** Streams that go on without a client: a fresh gateway takes them up, and is woken while one runs. Knows no storage. */
import { parseEventId } from './event-id.ts';
import type { Fleet } from './fleet.ts';
import { LiveRequest } from './live-request.ts';
import type { StreamInfo, StreamStore } from './stream-store.ts';

/** Well below a lease: a gateway that was restarted has to take its streams up before theirs run out. */
export const WATCH_MS = 5_000;
/** Clients that resume their streams come first. */
const TAKE_UP_MS = 2_000;

export class Unattended {
  readonly #store: StreamStore;
  #tookUp = false;

  constructor(store: StreamStore) {
    this.#store = store;
  }

  /** Those of an earlier incarnation: its lease on them runs out unless this one acks. */
  async takeUp(fleet: Fleet): Promise<void> {
    this.#tookUp = false;
    await new Promise((resolve) => setTimeout(resolve, TAKE_UP_MS));
    const left = this.#store.continuing(Date.now()).filter(({ id }) => fleet.find(id) === undefined);
    // All at once: a worker that does not answer must not cost the streams of others their lease.
    await Promise.all(left.map((info) => fleet.resume(fromItsStart(info).withoutClient())));
    this.#tookUp = true;
  }

  /** Of `running`, those that the fleet has no more have ended, and need nobody to wake for them. */
  settle(fleet: Fleet, running: readonly StreamInfo[]): void {
    if (!this.#tookUp) return;
    for (const info of running) if (fleet.find(info.id) === undefined) this.#store.markEnded(info);
  }
}

/** A stream that is read again from `offsets` on. */
export function resumed(info: StreamInfo, offsets: readonly number[]): LiveRequest {
  const { id, attempt, worker, epoch, continues, stopped: stopping } = info;
  return new LiveRequest({ id, attempt, worker, epoch, offsets, whole: false, continues, stopping });
}

const fromItsStart = (info: StreamInfo): LiveRequest => resumed(info, parseEventId('0', info.choices));
