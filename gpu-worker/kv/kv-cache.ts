/**
 * The contract of KV bookkeeping: which blocks hold which sequence, what may be reused, what room is left. Two kinds
 * keep it: slots (CPU: a block holds one whole sequence) and the block pool (CUDA: fixed blocks, shared by reference).
 * Knows no tensors, no scheduling and no clock.
 */

/** Share of the capacity that pinned prefixes may keep from eviction. */
export const PINNED_SHARE = 1 / 4;
/** A pin that nobody used ends after the cache was replaced so many times. */
export const PIN_TURNOVERS = 16;

/** Copy KV positions 0 … `tokens` − 1 of block `from` to block `to`. */
export interface KvCopy {
  readonly from: number;
  readonly to: number;
  readonly tokens: number;
}

/** Positions from `tokens` on of this block hold nothing any more. */
export interface KvDrop {
  readonly block: number;
  readonly tokens: number;
}

/** A sequence that wants KV. */
export interface KvOwner {
  /** The scheduler's number of the sequence. */
  readonly sequence: number;
  /** Tenants with different salts share nothing; '' = the common space. */
  readonly salt: string;
  /** [length]: every known token. */
  readonly tokens: Int32Array;
  /** So many of the first ones are evicted last, once they are committed: those of registered prompts. 0 without. */
  readonly pinned?: number;
}

export interface KvAdmission {
  /** Tokens reused from the cache, at most `tokens.length` − 1: the last one is always computed. */
  readonly cached: number;
  /** To run before the sequence's first row. */
  readonly copies: readonly KvCopy[];
}

export interface KvUsage {
  /** Tokens that fit in all. */
  readonly capacity: number;
  /** Tokens that live sequences hold, rounded up to blocks; shared blocks count once. */
  readonly live: number;
  /** Tokens that only the prefix cache holds; evicted as needed. */
  readonly cached: number;
  /** Of the cached ones, those evicted last; at most PINNED_SHARE of the capacity. */
  readonly pinned: number;
  /** Tokens looked up at admission, and found. */
  readonly queries: number;
  readonly hits: number;
}

export interface KvCache {
  /** Tokens of `owner` that could be reused now; looks only. */
  match(owner: KvOwner): number;
  /**
   * Takes a sequence in with room for `upTo` tokens, reusing the longest cached prefix. Null: no room now, nothing
   * changed. Evicts cached prefixes as needed, pinned ones last, least recently used first, each from its tail.
   */
  admit(owner: KvOwner, upTo: number): KvAdmission | null;
  /** Room for `upTo` tokens in total. False: no room now, and what the sequence had it keeps. */
  reserve(sequence: number, upTo: number): boolean;
  /** Blocks in the order of positions. Valid until the next `reserve` or `release` of the sequence. */
  blocks(sequence: number): Int32Array;
  /** The first `computed` of `tokens` are in KV for good: others may reuse them from now on. */
  commit(sequence: number, tokens: Int32Array, computed: number): void;
  /**
   * The sequence is gone; what it committed stays as cache. `until`: the last launched plan's id; its blocks are
   * neither given away nor dropped before that plan has retired (0: no plan is in flight).
   */
  release(sequence: number, until: number): void;
  /** Every plan up to `planId` has been committed or rolled back. */
  retire(planId: number): void;
  /**
   * Copies that bring running sequences where the runner wants them, when no plan is in flight; `blocks` is right
   * after the call. Empty for kinds that have no such wish.
   */
  arrange(): readonly KvCopy[];
  /** Drops since the last call. */
  takeDrops(): readonly KvDrop[];
  usage(): KvUsage;
  /** Forgets everything cached that no live sequence holds. */
  clear(): void;
  /** Every broken invariant, in words; empty when all hold. */
  violations(): readonly string[];
}
