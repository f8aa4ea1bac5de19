/** Which workers live, what they serve and how busy they are. Pure: time comes in. */
import { HEARTBEAT_TTL_MS, type Heartbeat } from '../shared/protocol.ts';

interface Entry {
  readonly heartbeat: Heartbeat;
  readonly seenAtMs: number;
  /** Nobody listened there since: it is not alive, but the next heartbeat may tell that it has started anew. */
  readonly gone: boolean;
}

/** Silent for so long, a worker will not be back under its name. */
const STALE_MS = 10 * 60_000;

export class Registry {
  readonly #entries = new Map<string, Entry>();

  /** Returns the epoch that this heartbeat replaces, when the worker has started anew. */
  see(heartbeat: Heartbeat, nowMs: number): string | null {
    const before = this.#entries.get(heartbeat.worker)?.heartbeat.epoch;
    this.#entries.set(heartbeat.worker, { heartbeat, seenAtMs: nowMs, gone: false });
    return before === undefined || before === heartbeat.epoch ? null : before;
  }

  markGone(worker: string): void {
    const entry = this.#entries.get(worker);
    if (entry !== undefined) this.#entries.set(worker, { ...entry, gone: true });
  }

  /** Forgets those that have long been silent, and names them. */
  forgetStale(nowMs: number): readonly string[] {
    const stale = [...this.#entries].filter(([, { seenAtMs }]) => nowMs - seenAtMs >= STALE_MS);
    return stale.map(([worker]) => {
      this.#entries.delete(worker);
      return worker;
    });
  }

  alive(nowMs: number): readonly Heartbeat[] {
    const entries = [...this.#entries.values()].filter(
      ({ seenAtMs, gone }) => !gone && nowMs - seenAtMs < HEARTBEAT_TTL_MS,
    );
    return entries.map(({ heartbeat }) => heartbeat);
  }

  /** Whether a worker served `model` of late, even if none does now. */
  remembers(model: string): boolean {
    return [...this.#entries.values()].some(({ heartbeat }) => heartbeat.models.includes(model));
  }

  /** Workers of `model` that take requests. */
  ready(model: string, nowMs: number): readonly Heartbeat[] {
    return this.alive(nowMs).filter(({ status, models }) => status === 'ready' && models.includes(model));
  }
}
