/** All requests the worker has or had lately, and the gateways they stream to. Knows no NATS and no engine. */
import type { MillraceError } from '../../shared/errors.ts';
import type { FrameBatch } from '../../shared/protocol.ts';
import type { ChoiceDelta, RequestEnd } from '../engine/messages.ts';
import { GatewayLink } from './gateway-link.ts';
import { StreamRecord } from './stream-record.ts';

export interface StreamsOptions {
  readonly worker: string;
  readonly epoch: string;
  /** Without a sign of the gateway for so long, its requests are orphans. */
  readonly leaseMs: number;
  /** An ended stream can be replayed for so long. */
  readonly retainMs: number;
  /** Of all records together; the oldest ended ones go first. */
  readonly maxBytes: number;
  readonly publish: (batch: FrameBatch) => void;
}

export interface StreamTarget {
  readonly shard: string;
  readonly shardEpoch: string;
}

export class Streams {
  readonly #options: StreamsOptions;
  readonly #records = new Map<string, StreamRecord>();
  readonly #links = new Map<string, GatewayLink>();
  readonly #linkOf = new Map<StreamRecord, GatewayLink>();

  constructor(options: StreamsOptions) {
    this.#options = options;
  }

  get live(): number {
    let live = 0;
    for (const record of this.#records.values()) if (!record.ended) live++;
    return live;
  }

  /** Frames that no gateway has acked yet. */
  get unacked(): number {
    let unacked = 0;
    for (const link of this.#links.values()) unacked += link.unacked;
    return unacked;
  }

  find(id: string): StreamRecord | undefined {
    return this.#records.get(id);
  }

  /** A later attempt takes the place of an earlier one. */
  open(id: string, attempt: number, target: StreamTarget & { readonly nowMs: number }): StreamRecord {
    this.#drop(this.#records.get(id));
    const record = new StreamRecord(id, attempt);
    this.#records.set(id, record);
    this.#attach(record, target, target.nowMs);
    return record;
  }

  /** Takes in a step's output and publishes one message per gateway. */
  receive(deltas: readonly ChoiceDelta[], ends: readonly RequestEnd[], nowMs: number): void {
    for (const delta of deltas) this.#ofEngineId(delta.id)?.append(delta);
    for (const end of ends) this.#ofEngineId(end.id)?.end(end, nowMs);
    for (const { id } of [...deltas, ...ends]) {
      const record = this.#ofEngineId(id);
      if (record !== undefined) this.#linkOf.get(record)?.mark(record);
    }
    this.flush(nowMs);
  }

  flush(nowMs: number): void {
    for (const link of this.#links.values()) for (const batch of link.flush(nowMs)) this.#options.publish(batch);
  }

  ack({ shard, shardEpoch }: StreamTarget, seq: number, nowMs: number): void {
    const link = this.#links.get(`${shard}/${shardEpoch}`);
    link?.ack(seq, nowMs);
    this.flush(nowMs);
  }

  /** Streams `id` again from `offsets` to this target; false when it is not known (any more). */
  replay(id: string, offsets: readonly number[], target: StreamTarget & { readonly nowMs: number }): boolean {
    const record = this.#records.get(id);
    if (record === undefined) return false;
    record.rewind(offsets);
    this.#attach(record, target, target.nowMs);
    this.flush(target.nowMs);
    return true;
  }

  /** Every live request ends in this error at once, engine or no engine. */
  failAll({ code, message }: MillraceError, nowMs: number): void {
    const usage = { promptTokens: 0, completionTokens: 0, cachedTokens: 0 };
    for (const record of this.#records.values()) {
      if (record.ended) continue;
      record.end({ type: 'error', id: `${record.id}.${record.attempt}`, code, message, usage }, nowMs);
      this.#linkOf.get(record)?.mark(record);
    }
    this.flush(nowMs);
  }

  /** Nudges silent gateways, forgets old streams; returns the live requests whose gateway is gone. */
  sweep(nowMs: number): readonly StreamRecord[] {
    const orphans: StreamRecord[] = [];
    for (const [key, link] of this.#links) {
      const nudge = link.nudge(nowMs);
      if (nudge !== null) this.#options.publish(nudge);
      if (link.silentFor(nowMs) < this.#options.leaseMs) continue;
      const live = [...link.records].filter((record) => !record.ended);
      orphans.push(...live);
      // Its ended streams can still be asked for; the link itself has nobody to talk to.
      if (live.length === 0) this.#links.delete(key);
    }
    this.#forget(nowMs);
    return orphans;
  }

  #attach(record: StreamRecord, { shard, shardEpoch }: StreamTarget, nowMs: number): void {
    this.#linkOf.get(record)?.detach(record);
    const key = `${shard}/${shardEpoch}`;
    const { worker, epoch } = this.#options;
    const link = this.#links.get(key) ?? new GatewayLink({ worker, epoch, shard, shardEpoch }, nowMs);
    this.#links.set(key, link);
    this.#linkOf.set(record, link);
    link.attach(record, nowMs);
  }

  /** Engine ids are `<id>.<attempt>`; output of an attempt that was replaced finds no record. */
  #ofEngineId(engineId: string): StreamRecord | undefined {
    const dot = engineId.lastIndexOf('.');
    const record = this.#records.get(engineId.slice(0, dot));
    return record?.attempt === Number(engineId.slice(dot + 1)) ? record : undefined;
  }

  #forget(nowMs: number): void {
    let bytes = 0;
    for (const record of this.#records.values()) bytes += record.bytes;
    // Insertion order is nearly order of end.
    for (const record of this.#records.values()) {
      if (record.endedAtMs === null) continue;
      if (nowMs - record.endedAtMs < this.#options.retainMs && bytes <= this.#options.maxBytes) continue;
      bytes -= record.bytes;
      this.#drop(record);
    }
  }

  #drop(record: StreamRecord | undefined): void {
    if (record === undefined) return;
    this.#linkOf.get(record)?.detach(record);
    this.#linkOf.delete(record);
    this.#records.delete(record.id);
  }
}
