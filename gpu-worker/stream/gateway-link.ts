/** The worker's side of one gateway incarnation: frame numbers, acks as lease, backpressure. Knows no NATS. */
import { PROTOCOL_VERSION, type Frame, type FrameBatch } from '../../shared/protocol.ts';
import type { StreamRecord } from './stream-record.ts';

/** Out and not acked; at either bound the link stalls and deltas merge in their records. */
const MAX_UNACKED_BATCHES = 1024;
const MAX_UNACKED_BYTES = 32 * 1024 * 1024;
/** A batch stays below nats-server's default max_payload of 1 MiB. */
const MAX_BATCH_BYTES = 900_000;
/** Nothing sent for so long while acks are due, an empty batch goes out: its number shows what was lost. Milliseconds. */
const NUDGE_AFTER_MS = 1000;

export interface LinkIdentity {
  readonly worker: string;
  readonly epoch: string;
  readonly shard: string;
  readonly shardEpoch: string;
}

export class GatewayLink {
  readonly identity: LinkIdentity;
  /** Live requests whose frames go here: what the lease is about. */
  readonly live = new Set<StreamRecord>();
  /** Records with something to send. */
  readonly #dirty = new Set<StreamRecord>();
  #seq = 0;
  #acked = 0;
  /** Bytes of each unacked batch, oldest first. */
  readonly #unackedSizes: number[] = [];
  #unackedBytes = 0;
  #publishedAtMs = 0;
  #heardAtMs: number;

  constructor(identity: LinkIdentity, nowMs: number) {
    this.identity = identity;
    this.#heardAtMs = nowMs;
  }

  get unacked(): number {
    return this.#seq - this.#acked;
  }

  get stalled(): boolean {
    return this.unacked >= MAX_UNACKED_BATCHES || this.#unackedBytes >= MAX_UNACKED_BYTES;
  }

  /** Milliseconds since the gateway's last sign of life: an ack, a submit or a replay. */
  silentFor(nowMs: number): number {
    return nowMs - this.#heardAtMs;
  }

  attach(record: StreamRecord, nowMs: number): void {
    this.#heardAtMs = nowMs;
    if (!record.ended) this.live.add(record);
    this.mark(record);
  }

  detach(record: StreamRecord): void {
    this.live.delete(record);
    this.#dirty.delete(record);
  }

  /** The record has something new; its end too. */
  mark(record: StreamRecord): void {
    if (record.ended) this.live.delete(record);
    this.#dirty.add(record);
  }

  /** Cumulative; a number that was never sent counts as the last one that was. */
  ack(seq: number, nowMs: number): void {
    this.#heardAtMs = nowMs;
    const acked = Math.min(seq, this.#seq);
    if (acked <= this.#acked) return;
    for (const size of this.#unackedSizes.splice(0, acked - this.#acked)) this.#unackedBytes -= size;
    this.#acked = acked;
  }

  /** Batches to publish now: none while stalled. */
  flush(nowMs: number): readonly FrameBatch[] {
    const batches: FrameBatch[] = [];
    for (let batch = this.#next(nowMs); batch !== null; batch = this.#next(nowMs)) batches.push(batch);
    return batches;
  }

  /** An empty batch when acks are overdue, else null. */
  nudge(nowMs: number): FrameBatch | null {
    if (this.unacked === 0 || nowMs - this.#publishedAtMs < NUDGE_AFTER_MS) return null;
    return this.#batch([], { bytes: 0, nowMs });
  }

  #next(nowMs: number): FrameBatch | null {
    if (this.stalled) return null;
    const frames: Frame[] = [];
    let bytes = 0;
    for (const record of this.#dirty) {
      const taken = record.takeFrames(MAX_BATCH_BYTES - bytes);
      frames.push(...taken.frames);
      bytes += taken.bytes;
      if (taken.done) this.#dirty.delete(record);
      if (bytes >= MAX_BATCH_BYTES) break;
    }
    return frames.length === 0 ? null : this.#batch(frames, { bytes, nowMs });
  }

  #batch(frames: Frame[], { bytes, nowMs }: { readonly bytes: number; readonly nowMs: number }): FrameBatch {
    this.#publishedAtMs = nowMs;
    this.#unackedSizes.push(bytes);
    this.#unackedBytes += bytes;
    return { v: PROTOCOL_VERSION, ...this.identity, seq: ++this.#seq, frames };
  }
}
