/** All requests the worker has or had lately, and the gateways they stream to. Knows no NATS and no engine. */
import type { FrameBatch } from '../../shared/protocol.ts';
import type { ChoiceDelta, RequestEnd } from '../engine/messages.ts';
import { GatewayLink } from './gateway-link.ts';
import { StreamRecord, type RecordIdentity } from './stream-record.ts';

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
  readonly nowMs: number;
}

export interface EndedRequest {
  readonly record: StreamRecord;
  readonly end: RequestEnd;
}

/**
 * Links are kept when idle, since their numbers must never start again for the same gateway epoch; beyond this many
 * the longest silent one goes, whose gateway is long gone.
 */
const MAX_LINKS = 4096;

export class Streams {
  readonly #options: StreamsOptions;
  readonly #records = new Map<string, StreamRecord>();
  readonly #live = new Set<StreamRecord>();
  /** Oldest end first. */
  readonly #ended = new Set<StreamRecord>();
  readonly #links = new Map<string, GatewayLink>();
  readonly #linkOf = new Map<StreamRecord, GatewayLink>();
  #bytes = 0;
  #liveChoices = 0;
  #paused = false;

  constructor(options: StreamsOptions) {
    this.#options = options;
  }

  get live(): ReadonlySet<StreamRecord> {
    return this.#live;
  }

  /** Choices of live requests. */
  get liveChoices(): number {
    return this.#liveChoices;
  }

  find(id: string): StreamRecord | undefined {
    return this.#records.get(id);
  }

  /** Batches that gateways within their lease have not acked. */
  unacked(nowMs: number): number {
    let unacked = 0;
    for (const link of this.#links.values()) if (!this.#lapsed(link, nowMs)) unacked += link.unacked;
    return unacked;
  }

  /** A later attempt takes the place of an earlier one. */
  open(identity: RecordIdentity, target: StreamTarget): StreamRecord {
    const earlier = this.#records.get(identity.id);
    if (earlier !== undefined) this.#drop(earlier);
    const record = new StreamRecord(identity, target.nowMs);
    this.#records.set(identity.id, record);
    this.#live.add(record);
    this.#bytes += record.bytes;
    this.#liveChoices += identity.choices;
    this.#attach(record, target);
    return record;
  }

  /** Takes in a step's output and publishes one message per gateway; returns the requests that ended with it. */
  receive(deltas: readonly ChoiceDelta[], ends: readonly RequestEnd[], nowMs: number): readonly EndedRequest[] {
    for (const delta of deltas) {
      const record = this.#ofEngineId(delta.id);
      if (record !== undefined && !record.ended) this.#append(record, delta);
    }
    const ended: EndedRequest[] = [];
    for (const end of ends) {
      const record = this.#ofEngineId(end.id);
      if (record === undefined || record.ended) continue;
      this.#end(record, end, nowMs);
      ended.push({ record, end });
    }
    this.flush(nowMs);
    return ended;
  }

  ack({ shard, shardEpoch, nowMs }: StreamTarget, seq: number): void {
    const link = this.#links.get(linkKey(shard, shardEpoch));
    if (link === undefined) return;
    link.ack(seq, nowMs);
    this.#flushLink(link, nowMs);
  }

  /** Streams `id` again from `offsets` to this target; false when it is not known (any more). */
  replay(id: string, offsets: readonly number[], target: StreamTarget): boolean {
    const record = this.#records.get(id);
    if (record === undefined) return false;
    record.rewind(offsets);
    this.#attach(record, target);
    this.flush(target.nowMs);
    return true;
  }

  /** Off the bus nothing is published, since it would be lost: deltas merge until `resume`. */
  pause(): void {
    this.#paused = true;
  }

  resume(nowMs: number): void {
    this.#paused = false;
    this.flush(nowMs);
  }

  flush(nowMs: number): void {
    for (const link of this.#links.values()) this.#flushLink(link, nowMs);
  }

  /** Nudges gateways with overdue acks, forgets old streams; returns the live requests whose gateway is gone. */
  sweep(nowMs: number): readonly StreamRecord[] {
    const orphans: StreamRecord[] = [];
    for (const link of this.#links.values()) {
      if (this.#lapsed(link, nowMs)) orphans.push(...link.live);
      else if (!this.#paused) this.#publish(link.nudge(nowMs));
    }
    this.#forget(nowMs);
    return orphans;
  }

  #lapsed(link: GatewayLink, nowMs: number): boolean {
    return link.silentFor(nowMs) >= this.#options.leaseMs;
  }

  #flushLink(link: GatewayLink, nowMs: number): void {
    if (this.#paused) return;
    for (const batch of link.flush(nowMs)) this.#publish(batch);
  }

  #publish(batch: FrameBatch | null): void {
    if (batch !== null) this.#options.publish(batch);
  }

  #append(record: StreamRecord, delta: ChoiceDelta): void {
    this.#bytes -= record.bytes;
    record.append(delta);
    this.#bytes += record.bytes;
    this.#linkOf.get(record)?.mark(record);
  }

  #end(record: StreamRecord, end: RequestEnd, nowMs: number): void {
    this.#settle(record);
    record.end(end, nowMs);
    this.#ended.add(record);
    this.#linkOf.get(record)?.mark(record);
  }

  /** The record is live no longer. */
  #settle(record: StreamRecord): void {
    if (!this.#live.delete(record)) return;
    this.#liveChoices -= record.identity.choices;
  }

  #attach(record: StreamRecord, { shard, shardEpoch, nowMs }: StreamTarget): void {
    this.#linkOf.get(record)?.detach(record);
    const key = linkKey(shard, shardEpoch);
    let link = this.#links.get(key);
    if (link === undefined) {
      if (this.#links.size >= MAX_LINKS) this.#dropSilentLink(nowMs);
      const { worker, epoch } = this.#options;
      link = new GatewayLink({ worker, epoch, shard, shardEpoch }, nowMs);
      this.#links.set(key, link);
    }
    this.#linkOf.set(record, link);
    link.attach(record, nowMs);
  }

  #dropSilentLink(nowMs: number): void {
    let silent: string | null = null;
    let longest = -1;
    for (const [key, link] of this.#links) {
      if (link.live.size > 0 || link.silentFor(nowMs) <= longest) continue;
      [silent, longest] = [key, link.silentFor(nowMs)];
    }
    if (silent !== null) this.#links.delete(silent);
  }

  /** Output of an attempt that was replaced finds no record. */
  #ofEngineId(engineId: string): StreamRecord | undefined {
    const record = this.#records.get(engineId.slice(0, engineId.lastIndexOf('.')));
    return record?.engineId === engineId ? record : undefined;
  }

  #forget(nowMs: number): void {
    const { retainMs, maxBytes } = this.#options;
    for (const record of this.#ended) {
      if (nowMs - (record.endedAtMs ?? nowMs) < retainMs && this.#bytes <= maxBytes) return;
      this.#drop(record);
    }
  }

  #drop(record: StreamRecord): void {
    this.#settle(record);
    this.#ended.delete(record);
    this.#linkOf.get(record)?.detach(record);
    this.#linkOf.delete(record);
    this.#records.delete(record.identity.id);
    this.#bytes -= record.bytes;
  }
}

function linkKey(shard: string, shardEpoch: string): string {
  return `${shard}/${shardEpoch}`;
}
