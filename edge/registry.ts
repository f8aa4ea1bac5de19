/** Which workers live, what they serve and how busy they are. Pure: time comes in. */
import { HEARTBEAT_TTL_MS, type Heartbeat } from '../shared/protocol.ts';

interface Entry {
  readonly heartbeat: Heartbeat;
  readonly seenAtMs: number;
}

export class Registry {
  readonly #entries = new Map<string, Entry>();

  /** Returns the epoch that this heartbeat replaces, when the worker has started anew. */
  see(heartbeat: Heartbeat, nowMs: number): string | null {
    const before = this.#entries.get(heartbeat.worker)?.heartbeat.epoch;
    this.#entries.set(heartbeat.worker, { heartbeat, seenAtMs: nowMs });
    return before === undefined || before === heartbeat.epoch ? null : before;
  }

  forget(worker: string): void {
    this.#entries.delete(worker);
  }

  alive(nowMs: number): readonly Heartbeat[] {
    const entries = [...this.#entries.values()].filter(({ seenAtMs }) => nowMs - seenAtMs < HEARTBEAT_TTL_MS);
    return entries.map(({ heartbeat }) => heartbeat);
  }

  /** Workers of `model` that take requests. */
  ready(model: string, nowMs: number): readonly Heartbeat[] {
    return this.alive(nowMs).filter(({ status, models }) => status === 'ready' && models.includes(model));
  }
}
