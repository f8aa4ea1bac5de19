/** The worker's side of one gateway incarnation: frame numbers, acks as lease, backpressure. Knows no NATS. */
import { PROTOCOL_VERSION, type Frame, type FrameBatch } from '../../shared/protocol.ts';
import type { StreamRecord } from './stream-record.ts';

/** Batches out and not acked; beyond it the link rests and deltas merge in their records. */
const MAX_UNACKED = 1024;
/** A message stays far below NATS' max_payload. Output tokens per batch. */
const MAX_BATCH_TOKENS = 20_000;
/** Unacked for so long, an empty batch goes out: its number shows the gateway what it lost. Milliseconds. */
const NUDGE_AFTER_MS = 1000;

export interface LinkIdentity {
  readonly worker: string;
  readonly epoch: string;
  readonly shard: string;
  readonly shardEpoch: string;
}

export class GatewayLink {
  readonly identity: LinkIdentity;
  /** Requests whose frames go here. */
  readonly records = new Set<StreamRecord>();
  #dirty = new Set<StreamRecord>();
  #seq = 0;
  #acked = 0;
  #publishedAtMs = 0;
  /** When the gateway last gave a sign of life. */
  #heardAtMs: number;

  constructor(identity: LinkIdentity, nowMs: number) {
    this.identity = identity;
    this.#heardAtMs = nowMs;
  }

  get unacked(): number {
    return this.#seq - this.#acked;
  }

  attach(record: StreamRecord, nowMs: number): void {
    this.records.add(record);
    this.#heardAtMs = nowMs;
    this.mark(record);
  }

  detach(record: StreamRecord): void {
    this.records.delete(record);
    this.#dirty.delete(record);
  }

  /** The record has something new. */
  mark(record: StreamRecord): void {
    this.#dirty.add(record);
  }

  ack(seq: number, nowMs: number): void {
    this.#heardAtMs = nowMs;
    this.#acked = Math.max(this.#acked, Math.min(seq, this.#seq));
  }

  silentFor(nowMs: number): number {
    return nowMs - this.#heardAtMs;
  }

  /** Batches to publish now. */
  flush(nowMs: number): FrameBatch[] {
    if (this.unacked >= MAX_UNACKED) return [];
    const batches: FrameBatch[] = [];
    let frames: Frame[] = [];
    let tokens = 0;
    for (const record of this.#dirty) {
      for (const frame of record.takeFrames()) {
        frames.push(frame);
        tokens += frame.type === 'text-delta' ? frame.ids.length : 0;
      }
      if (tokens < MAX_BATCH_TOKENS) continue;
      batches.push(this.#batch(frames, nowMs));
      [frames, tokens] = [[], 0];
    }
    this.#dirty = new Set();
    if (frames.length > 0) batches.push(this.#batch(frames, nowMs));
    return batches;
  }

  /** An empty batch when acks are overdue, else null. */
  nudge(nowMs: number): FrameBatch | null {
    if (this.unacked === 0 || this.unacked >= MAX_UNACKED || nowMs - this.#publishedAtMs < NUDGE_AFTER_MS) return null;
    return this.#batch([], nowMs);
  }

  #batch(frames: Frame[], nowMs: number): FrameBatch {
    this.#publishedAtMs = nowMs;
    return { v: PROTOCOL_VERSION, ...this.identity, seq: ++this.#seq, frames };
  }
}
