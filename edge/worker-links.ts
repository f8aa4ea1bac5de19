/** Frame numbers, acks and silence per worker epoch. Pure bookkeeping: says what to send, sends nothing. */
import type { FrameBatch } from '../shared/protocol.ts';

interface Link {
  readonly worker: string;
  readonly epoch: string;
  seq: number;
  ackedSeq: number;
  heardAtMs: number;
  failedProbes: number;
}

export class WorkerLinks {
  readonly #links = new Map<string, Link>();

  /** The gateway begins to expect frames of this worker. */
  expect(worker: string, epoch: string, nowMs: number): void {
    const link = this.#links.get(worker);
    if (link?.epoch === epoch) return;
    this.#links.set(worker, { worker, epoch, seq: 0, ackedSeq: 0, heardAtMs: nowMs, failedProbes: 0 });
  }

  heard(worker: string, nowMs: number): void {
    const link = this.#links.get(worker);
    if (link === undefined) return;
    link.heardAtMs = nowMs;
    link.failedProbes = 0;
  }

  /** Until now nothing could be heard. */
  heardAll(nowMs: number): void {
    for (const worker of this.#links.keys()) this.heard(worker, nowMs);
  }

  /** True when batches before this one are missing. */
  receive({ worker, epoch, seq }: FrameBatch, nowMs: number): boolean {
    this.expect(worker, epoch, nowMs);
    this.heard(worker, nowMs);
    const link = this.#links.get(worker);
    if (link === undefined || seq <= link.seq) return false;
    const gap = seq > link.seq + 1;
    link.seq = seq;
    return gap;
  }

  /** Workers to ack now: those with live requests always (it renews the lease), others when something is new. */
  dueAcks(live: ReadonlySet<string>): readonly { readonly worker: string; readonly seq: number }[] {
    const due = [...this.#links.values()].filter((link) => live.has(link.worker) || link.seq > link.ackedSeq);
    for (const link of due) link.ackedSeq = link.seq;
    return due.map(({ worker, seq }) => ({ worker, seq }));
  }

  silent(live: ReadonlySet<string>, nowMs: number, afterMs: number): readonly string[] {
    return [...this.#links.values()]
      .filter((link) => live.has(link.worker) && nowMs - link.heardAtMs >= afterMs)
      .map(({ worker }) => worker);
  }

  /** How many probes in a row this worker has not answered. */
  probeFailed(worker: string): number {
    const link = this.#links.get(worker);
    return link === undefined ? 0 : ++link.failedProbes;
  }

  forget(worker: string): void {
    this.#links.delete(worker);
  }
}
