/** Streams that go on without a client: a fresh gateway takes them up, and is woken while one runs. Knows no storage. */
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
    await Promise.all(left.map((info) => fleet.resume(withoutClient(info))));
    this.#tookUp = true;
  }

  /** The shard of those that run; null when none does. */
  shard(nowMs: number): string | null {
    const [first] = this.#store.continuing(nowMs);
    return first === undefined ? null : (first.id.split('-')[1] ?? null);
  }

  /** Those that the fleet has no more have ended, and need nobody to wake for them. */
  settle(fleet: Fleet, nowMs: number): void {
    if (!this.#tookUp) return;
    for (const info of this.#store.continuing(nowMs)) {
      if (fleet.find(info.id) === undefined) this.#store.markEnded(info);
    }
  }
}

/** A stream that is read again from `offsets` on. */
export function resumed(info: StreamInfo, offsets: readonly number[]): LiveRequest {
  const { id, attempt, worker, epoch, continues, stopped: stopping } = info;
  return new LiveRequest({ id, attempt, worker, epoch, offsets, whole: false, continues, stopping });
}

/** A stream that is taken up from its start, for nobody. */
function withoutClient(info: StreamInfo): LiveRequest {
  const live = resumed(
    info,
    Array.from({ length: info.choices }, () => 0),
  );
  live.detached = true;
  return live;
}
