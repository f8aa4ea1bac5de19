/**
 * KV bookkeeping of fixed-size blocks (CUDA, PagedAttention): sequences share full blocks by reference. Knows no
 * tensors, no scheduling and no clock.
 *
 * A block is free, held (by live sequences, or by released ones while plans are in flight) or cached. The rules:
 * - The longest cached prefix is reused to the token: full blocks by reference, a part of the next block by a copy, or
 *   by taking the block over when nobody holds it and all of it matches. Fewer than PIECE tokens of a block are not
 *   looked for.
 * - A released sequence gives its blocks back tail first; free blocks are given away before cached ones, and those in
 *   the order in which they came back. A block is thus evicted before the block it continues.
 * - Full blocks of pinned tokens are given away last, see idle-blocks.ts.
 */
import { IdleBlocks } from './idle-blocks.ts';
import { PINNED_SHARE, type KvAdmission, type KvCache, type KvCopy } from './kv-cache.ts';
import type { KvDrop, KvOwner, KvUsage } from './kv-cache.ts';
import { NONE } from './piece-table.ts';
import { PIECE } from './prefix-hash.ts';
import { PrefixIndex } from './prefix-index.ts';

export interface PoolOptions {
  readonly blocks: number;
  /** Tokens of a block, a multiple of 16. */
  readonly blockSize: number;
}

interface Live {
  readonly salt: string;
  /** Blocks at the beginning that are evicted last. */
  readonly pinned: number;
  /** Block table in the order of positions. */
  table: Int32Array;
  committed: number;
}

/** A released sequence whose blocks plans up to `until` may still write. */
interface Resting extends Pick<Live, 'table' | 'pinned'> {
  readonly until: number;
}

/** What of the cache a sequence can start from. */
interface Reuse {
  readonly tokens: number;
  /** Full blocks in the order of positions. */
  readonly shared: readonly number[];
  /** Holds the rest of the tokens; NONE when full blocks hold them all. */
  readonly partial: number;
}

export class BlockPool implements KvCache {
  readonly #blockSize: number;
  readonly #index: PrefixIndex;
  /** [blocks] Sequences, live or resting, that hold the block. */
  readonly #references: Int32Array;
  /** Hold nothing; the next one last. */
  readonly #free: number[];
  readonly #cached: IdleBlocks;
  readonly #live = new Map<number, Live>();
  #resting: Resting[] = [];
  #queries = 0;
  #hits = 0;

  constructor({ blocks, blockSize }: PoolOptions) {
    if (blockSize % PIECE !== 0) throw new Error(`block size ${blockSize} is not a multiple of ${PIECE}`);
    this.#blockSize = blockSize;
    this.#index = new PrefixIndex(blocks, blockSize);
    this.#references = new Int32Array(blocks);
    this.#free = Array.from({ length: blocks }, (_, block) => blocks - 1 - block);
    this.#cached = new IdleBlocks(blocks, Math.floor(blocks * PINNED_SHARE));
  }

  match(owner: KvOwner): number {
    return this.#index.find(owner, owner.tokens.length - 1, NONE)?.tokens ?? 0;
  }

  admit(owner: KvOwner, upTo: number): KvAdmission | null {
    const { sequence, salt, tokens, pinned = 0 } = owner;
    if (this.#live.has(sequence)) throw new Error(`sequence ${sequence} is admitted already`);
    const reuse = this.#reuse(owner, upTo);
    const total = this.#blocksFor(upTo);
    const idle = reuse.shared.reduce((count, block) => count + (this.#cached.has(block) ? 1 : 0), 0);
    if (total - reuse.shared.length > this.#available - idle) return null;
    const table = new Int32Array(total);
    for (const [i, block] of reuse.shared.entries()) {
      this.#acquire(block);
      table[i] = block;
    }
    const copies: KvCopy[] = [];
    let length = reuse.shared.length;
    if (reuse.partial !== NONE) {
      const from = length * this.#blockSize;
      const block = this.#startFrom(reuse.partial, reuse.tokens - from);
      if (block !== reuse.partial) copies.push({ from: reuse.partial, to: block, tokens: reuse.tokens - from });
      if (this.#index.length(block) === 0) {
        this.#index.open(block, table[length - 1] ?? NONE, salt);
        this.#index.append(block, tokens, { from, to: reuse.tokens });
      }
      table[length++] = block;
    }
    this.#extend(table, length, salt);
    const pinnedBlocks = Math.floor(pinned / this.#blockSize);
    this.#live.set(sequence, { salt, pinned: pinnedBlocks, table, committed: reuse.tokens });
    this.#queries += tokens.length;
    this.#hits += reuse.tokens;
    return { cached: reuse.tokens, copies };
  }

  reserve(sequence: number, upTo: number): boolean {
    const live = this.#liveOf(sequence);
    const length = live.table.length;
    const total = this.#blocksFor(upTo);
    if (total <= length) return true;
    if (total - length > this.#available) return false;
    const table = new Int32Array(total);
    table.set(live.table);
    this.#extend(table, length, live.salt);
    live.table = table;
    return true;
  }

  blocks(sequence: number): Int32Array {
    return this.#liveOf(sequence).table;
  }

  commit(sequence: number, tokens: Int32Array, computed: number): void {
    const live = this.#liveOf(sequence);
    const { committed, table } = live;
    if (computed < committed || computed > table.length * this.#blockSize) {
      throw new Error(`sequence ${sequence} commits ${computed} tokens after ${committed}, in ${table.length} blocks`);
    }
    let from = committed;
    while (from < computed) {
      const at = Math.floor(from / this.#blockSize);
      const to = Math.min(computed, (at + 1) * this.#blockSize);
      this.#index.append(table[at] ?? NONE, tokens, { from, to });
      from = to;
    }
    live.committed = computed;
  }

  release(sequence: number, until: number): void {
    const { table, pinned } = this.#liveOf(sequence);
    this.#live.delete(sequence);
    if (until > 0) this.#resting.push({ table, pinned, until });
    else this.#giveBack({ table, pinned });
  }

  retire(planId: number): void {
    if (this.#resting.length === 0) return;
    for (const each of this.#resting) if (each.until <= planId) this.#giveBack(each);
    this.#resting = this.#resting.filter(({ until }) => until > planId);
  }

  arrange(): readonly KvCopy[] {
    return [];
  }

  takeDrops(): readonly KvDrop[] {
    return [];
  }

  usage(): KvUsage {
    const size = this.#blockSize;
    const live = (this.#index.blocks - this.#available) * size;
    const [capacity, cached] = [this.#index.blocks * size, this.#cached.size * size];
    const pinned = this.#cached.pinnedSize * size;
    const [queries, hits] = [this.#queries, this.#hits];
    return { capacity, live, cached, pinned, queries, hits };
  }

  clear(): void {
    const kept = new Set<number>();
    for (const { table } of this.#live.values()) for (const block of table) kept.add(block);
    for (let block = 0; block < this.#index.blocks; block++) if (!kept.has(block)) this.#index.truncate(block, 0);
    for (let block = this.#cached.shift(); block !== null; block = this.#cached.shift()) this.#free.push(block);
  }

  violations(): readonly string[] {
    const broken = [...this.#index.violations(), ...this.#chainViolations()];
    const references = new Int32Array(this.#index.blocks);
    for (const { table } of [...this.#live.values(), ...this.#resting]) {
      for (const block of table) references[block] = (references[block] ?? 0) + 1;
    }
    const free = new Set(this.#free);
    if (free.size !== this.#free.length) broken.push('a block is free twice');
    for (const [block, count] of references.entries()) {
      if (this.#references[block] !== count) {
        broken.push(`block ${block} has ${this.#references[block]} references for ${count} holders`);
      }
      const states = (count > 0 ? 1 : 0) + (free.has(block) ? 1 : 0) + (this.#cached.has(block) ? 1 : 0);
      if (states !== 1) broken.push(`block ${block} is in ${states} states at once`);
      const length = this.#index.length(block);
      if (free.has(block) && length > 0) broken.push(`block ${block} is free and holds ${length} tokens`);
      if (this.#cached.has(block) && length < PIECE) broken.push(`block ${block} is cached with ${length} tokens`);
    }
    return broken;
  }

  /** Blocks that nobody holds. */
  get #available(): number {
    return this.#free.length + this.#cached.size;
  }

  #blocksFor(tokens: number): number {
    return Math.ceil(tokens / this.#blockSize);
  }

  #liveOf(sequence: number): Live {
    const live = this.#live.get(sequence);
    if (live === undefined) throw new Error(`sequence ${sequence} holds no blocks`);
    return live;
  }

  #reuse(owner: KvOwner, upTo: number): Reuse {
    const found = this.#index.find(owner, Math.min(owner.tokens.length - 1, upTo), NONE);
    if (found === null) return { tokens: 0, shared: [], partial: NONE };
    const { tokens } = found;
    const partial = tokens % this.#blockSize > 0 ? found.block : NONE;
    const shared = new Array<number>(Math.floor(tokens / this.#blockSize)).fill(NONE);
    let block = partial === NONE ? found.block : this.#index.parent(found.block);
    for (let i = shared.length - 1; i >= 0; i--) {
      shared[i] = block;
      block = this.#index.parent(block);
    }
    return { tokens, shared, partial };
  }

  #acquire(block: number): void {
    if (this.#references[block] === 0) this.#cached.remove(block);
    this.#references[block] = (this.#references[block] ?? 0) + 1;
  }

  /** A block of one's own that begins with the first `tokens` of `partial`: that block itself, or one to copy them to. */
  #startFrom(partial: number, tokens: number): number {
    if (!this.#cached.has(partial)) return this.#allocate();
    this.#cached.remove(partial);
    if (this.#index.length(partial) === tokens) {
      this.#references[partial] = 1;
      return partial;
    }
    // Used just now: last to go. Where there is no other block it is evicted all the same, and begins with its tokens.
    this.#cached.push(partial);
    return this.#allocate();
  }

  #allocate(): number {
    const block = this.#free.pop() ?? this.#cached.shift();
    if (block === null) throw new Error('no block is left');
    this.#index.truncate(block, 0);
    this.#cached.unpin(block);
    this.#references[block] = 1;
    return block;
  }

  /** Fills a block table from `length` on with fresh blocks, each to continue the one before it. */
  #extend(table: Int32Array, length: number, salt: string): void {
    for (let i = length; i < table.length; i++) {
      const block = this.#allocate();
      this.#index.open(block, table[i - 1] ?? NONE, salt);
      table[i] = block;
    }
  }

  #giveBack({ table, pinned }: Pick<Live, 'table' | 'pinned'>): void {
    for (const block of table.subarray(0, pinned)) {
      if (this.#index.length(block) === this.#blockSize) this.#cached.pin(block);
    }
    for (const block of table.toReversed()) {
      const references = (this.#references[block] ?? 0) - 1;
      if (references < 0) throw new Error(`block ${block} is given back twice`);
      this.#references[block] = references;
      if (references > 0) continue;
      if (this.#index.length(block) >= PIECE) {
        this.#cached.push(block);
        continue;
      }
      this.#index.truncate(block, 0);
      this.#free.push(block);
    }
  }

  #chainViolations(): readonly string[] {
    const broken: string[] = [];
    const order = new Map(Array.from(this.#cached, (block, place) => [block, place]));
    for (const [block, place] of order) {
      const parent = this.#index.parent(block);
      if (parent === NONE || this.#references[parent] !== 0) continue;
      if ((order.get(parent) ?? NONE) < place) broken.push(`block ${parent} is evicted before ${block} after it`);
    }
    for (const [sequence, { table, committed }] of this.#live) {
      for (const [i, block] of table.entries()) {
        const length = Math.min(this.#blockSize, Math.max(0, committed - i * this.#blockSize));
        if (this.#index.length(block) !== length || this.#index.parent(block) !== (table[i - 1] ?? NONE)) {
          broken.push(`block ${block} does not hold part ${i} of sequence ${sequence}`);
        }
      }
    }
    return broken;
  }
}
