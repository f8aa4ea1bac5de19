/** Tells each gateway shard which of its text blocks the KV cache holds: events in order, or everything at once. Knows no NATS. */
import { PROTOCOL_VERSION, type KvEvents } from '../../shared/protocol.ts';
import type { PrefixChanges, PrefixMark } from './prefix-mark.ts';

/** Blocks remembered: those held, and those that a shard waits to hear of. A message has room for all of them. */
const MAX_BLOCKS = 8_192;
/** Shards remembered; one that comes back is numbered anew and takes that for a gap. */
const MAX_SHARDS = 1_024;

export interface KvPublisherOptions {
  readonly worker: string;
  readonly epoch: string;
  readonly publish: (events: KvEvents) => void;
}

interface Block {
  /** Null while it is not held. */
  tokens: number | null;
  /** Who submitted it. */
  readonly shards: Set<string>;
}

interface Changes {
  readonly stored: Map<string, number>;
  readonly evicted: Set<string>;
}

export class KvPublisher {
  readonly #options: KvPublisherOptions;
  /** By hash, least recently wanted first. */
  readonly #blocks = new Map<string, Block>();
  /** Number of the last message to each shard, least recently written to first. */
  readonly #events = new Map<string, number>();

  constructor(options: KvPublisherOptions) {
    this.#options = options;
  }

  /** A request of this shard has these marks: it hears of them from now on. */
  want(shard: string, marks: readonly PrefixMark[]): void {
    const outbox = new Outbox();
    for (const { hash } of marks) {
      const block = this.#blocks.get(hash) ?? { tokens: null, shards: new Set() };
      if (block.tokens !== null && !block.shards.has(shard)) outbox.of(shard).stored.set(hash, block.tokens);
      block.shards.add(shard);
      this.#blocks.delete(hash);
      this.#blocks.set(hash, block);
    }
    for (const [hash, block] of this.#blocks) {
      if (this.#blocks.size <= MAX_BLOCKS) break;
      tellEvicted(hash, block, outbox);
      this.#blocks.delete(hash);
    }
    this.#send(outbox);
  }

  receive({ stored, evicted }: PrefixChanges): void {
    const outbox = new Outbox();
    for (const { hash, tokens } of stored) {
      const block = this.#blocks.get(hash);
      if (block === undefined || block.tokens !== null) continue;
      block.tokens = tokens;
      for (const shard of block.shards) outbox.of(shard).stored.set(hash, tokens);
    }
    for (const hash of evicted) {
      const block = this.#blocks.get(hash);
      if (block === undefined) continue;
      tellEvicted(hash, block, outbox);
      // Still wanted: a request may be on its way to bring it back.
      block.tokens = null;
    }
    this.#send(outbox);
  }

  /** Tokens of the longest of these marks that is held. */
  heldTokens(marks: readonly PrefixMark[]): number {
    for (const { hash } of marks.toReversed()) {
      const tokens = this.#blocks.get(hash)?.tokens ?? null;
      if (tokens !== null) return tokens;
    }
    return 0;
  }

  /** All that this shard should know. */
  snapshot(shard: string): KvEvents {
    const stored = new Map<string, number>();
    for (const [hash, { tokens, shards }] of this.#blocks) {
      if (tokens !== null && shards.has(shard)) stored.set(hash, tokens);
    }
    return this.#message(shard, this.#events.get(shard) ?? 0, { stored, evicted: new Set() });
  }

  #send(outbox: Outbox): void {
    for (const [shard, changes] of outbox.changes) {
      const event = (this.#events.get(shard) ?? 0) + 1;
      this.#events.delete(shard);
      this.#events.set(shard, event);
      const [oldest] = this.#events.keys();
      if (this.#events.size > MAX_SHARDS && oldest !== undefined) this.#events.delete(oldest);
      this.#options.publish(this.#message(shard, event, changes));
    }
  }

  #message(shard: string, event: number, { stored, evicted }: Changes): KvEvents {
    const { worker, epoch } = this.#options;
    return { v: PROTOCOL_VERSION, worker, epoch, shard, event, stored: [...stored], evicted: [...evicted] };
  }
}

class Outbox {
  readonly changes = new Map<string, Changes>();

  of(shard: string): Changes {
    const known = this.changes.get(shard) ?? { stored: new Map(), evicted: new Set() };
    this.changes.set(shard, known);
    return known;
  }
}

function tellEvicted(hash: string, { tokens, shards }: Block, outbox: Outbox): void {
  if (tokens !== null) for (const shard of shards) outbox.of(shard).evicted.add(hash);
}
