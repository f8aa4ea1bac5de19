/**
 * KV bookkeeping of slots (CPU): a slot is a contiguous row of KV positions that holds one whole sequence. Knows no
 * tensors, no scheduling and no clock.
 *
 * A slot is empty, running, resting (released while plans are in flight) or cached. The rules:
 * - Decode runs fastest in adjacent low slots: sequences run in slots 0 … `running` − 1, each admitted to the lowest
 *   one not in use. The slots above only keep prefixes.
 * - The longest cached prefix is reused to the token, wherever it lies: cached, resting, or the committed part of a
 *   running sequence. In the target slot it continues in place; else a copy brings it over and its holder keeps it.
 *   Fewer than PIECE tokens are not looked for.
 * - Other cached content of the target slot moves up first, to an empty slot or the least recently used one, if that
 *   was used before it. It is dropped when it has no such place, or is worth none: fewer than PIECE tokens more than
 *   what goes on in place, or held by another slot too.
 * - Reserved and cached tokens together never exceed `capacityTokens`. When room is short the least recently used
 *   content is cut from its tail, by whole pieces, and its positions are dropped.
 * - `arrange` moves the highest running sequence into the lowest hole, one a call.
 */
import type { KvAdmission, KvCache, KvCopy, KvDrop, KvOwner, KvUsage } from './kv-cache.ts';
import { NONE } from './piece-table.ts';
import { PIECE } from './prefix-hash.ts';
import { PrefixIndex } from './prefix-index.ts';
import { SlotDrops } from './slot-drops.ts';

export interface SlotOptions {
  readonly slots: number;
  /** Most sequences at once, at most `slots`. */
  readonly running: number;
  /** Longest sequence. */
  readonly slotTokens: number;
  /** Tokens that may be held at once. */
  readonly capacityTokens: number;
}

/** Who keeps a slot from being given away: a live sequence, or plans in flight that may still write it. */
interface Holder {
  /** Null once the sequence is gone. */
  readonly sequence: number | null;
  readonly slot: number;
  /** Tokens that count as live. */
  reserved: number;
  /** [1] */
  readonly blocks: Int32Array;
  /** Last plan that may write; 0 while the sequence lives. */
  readonly until: number;
}

export class SlotCache implements KvCache {
  readonly #options: SlotOptions;
  readonly #index: PrefixIndex;
  /** [slots] */
  readonly #holders: (Holder | null)[];
  readonly #bySequence = new Map<number, Holder>();
  #resting: Holder[] = [];
  /** [slots] When content was last used, on a clock that only orders. */
  readonly #lastUse: Float64Array;
  readonly #drops: SlotDrops;
  #now = 0;
  #live = 0;
  #cached = 0;
  #queries = 0;
  #hits = 0;

  constructor(options: SlotOptions) {
    const { slots, running, slotTokens } = options;
    if (running > slots) throw new Error(`${running} running sequences cannot have ${slots} slots`);
    this.#options = options;
    this.#index = new PrefixIndex(slots, slotTokens);
    this.#holders = new Array<Holder | null>(slots).fill(null);
    this.#lastUse = new Float64Array(slots);
    this.#drops = new SlotDrops(slots, slotTokens);
  }

  match(owner: KvOwner): number {
    return this.#index.find(owner, owner.tokens.length - 1, NONE)?.tokens ?? 0;
  }

  admit(owner: KvOwner, upTo: number): KvAdmission | null {
    const { sequence, salt, tokens } = owner;
    if (this.#bySequence.has(sequence)) throw new Error(`sequence ${sequence} is admitted already`);
    const slot = this.#lowestHole(this.#options.running);
    if (slot === null || upTo > this.#options.slotTokens || !this.#hasRoom(upTo)) return null;
    const found = this.#index.find(owner, Math.min(tokens.length - 1, upTo), slot);
    const cached = found?.tokens ?? 0;
    if (found !== null) this.#lastUse[found.block] = ++this.#now;
    this.#live += upTo;
    const copies = this.#vacate(slot, found?.block === slot ? cached : 0);
    if (found !== null && found.block !== slot) copies.push({ from: found.block, to: slot, tokens: cached });
    this.#index.open(slot, NONE, salt);
    this.#index.append(slot, tokens, { from: 0, to: cached });
    this.#hold({ sequence, slot, reserved: upTo, blocks: Int32Array.of(slot), until: 0 });
    this.#queries += tokens.length;
    this.#hits += cached;
    return { cached, copies };
  }

  reserve(sequence: number, upTo: number): boolean {
    const holder = this.#holderOf(sequence);
    const more = upTo - holder.reserved;
    if (more <= 0) return true;
    if (upTo > this.#options.slotTokens || !this.#hasRoom(more)) return false;
    this.#live += more;
    holder.reserved = upTo;
    this.#drops.write(holder.slot, upTo);
    this.#makeRoom();
    return true;
  }

  blocks(sequence: number): Int32Array {
    return this.#holderOf(sequence).blocks;
  }

  commit(sequence: number, tokens: Int32Array, computed: number): void {
    const { slot, reserved } = this.#holderOf(sequence);
    const committed = this.#index.length(slot);
    if (computed < committed || computed > reserved) {
      throw new Error(`sequence ${sequence} commits ${computed} tokens after ${committed}, with room for ${reserved}`);
    }
    this.#index.append(slot, tokens, { from: committed, to: computed });
  }

  release(sequence: number, until: number): void {
    const holder = this.#holderOf(sequence);
    this.#bySequence.delete(sequence);
    if (until <= 0) {
      this.#settle(holder);
      return;
    }
    const resting = { ...holder, sequence: null, until };
    this.#holders[holder.slot] = resting;
    this.#resting.push(resting);
  }

  retire(planId: number): void {
    if (this.#resting.length === 0) return;
    for (const holder of this.#resting) if (holder.until <= planId) this.#settle(holder);
    this.#resting = this.#resting.filter(({ until }) => until > planId);
  }

  arrange(): readonly KvCopy[] {
    if (this.#resting.length > 0) return [];
    const from = this.#holders.findLastIndex((holder) => holder !== null);
    const holder = this.#holders[from] ?? null;
    const to = this.#lowestHole(from);
    if (holder === null || to === null) return [];
    const copies = this.#vacate(to, 0);
    const tokens = this.#index.length(from);
    this.#index.move(from, to);
    this.#holders[from] = null;
    this.#drops.shrink(from);
    this.#hold({ ...holder, slot: to, blocks: Int32Array.of(to) });
    return tokens > 0 ? [...copies, { from, to, tokens }] : copies;
  }

  takeDrops(): readonly KvDrop[] {
    return this.#drops.take((slot) => this.#held(slot));
  }

  usage(): KvUsage {
    const [live, cached, queries, hits] = [this.#live, this.#cached, this.#queries, this.#hits];
    return { capacity: this.#options.capacityTokens, live, cached, queries, hits };
  }

  clear(): void {
    for (const [slot, holder] of this.#holders.entries()) {
      if (holder === null || holder.until > 0) this.#truncate(slot, 0);
    }
    this.#drops.forget();
  }

  violations(): readonly string[] {
    const broken = [...this.#index.violations()];
    let [live, cached, held] = [0, 0, 0];
    for (const [slot, holder] of this.#holders.entries()) {
      const length = this.#index.length(slot);
      if (this.#held(slot) > this.#drops.written(slot)) broken.push(`slot ${slot} holds positions it has dropped`);
      if (holder === null) {
        cached += length;
        if (length > 0 && length < PIECE) broken.push(`slot ${slot} keeps ${length} tokens, which nobody can find`);
        continue;
      }
      held++;
      live += holder.reserved;
      if (slot >= this.#options.running) broken.push(`slot ${slot} is in use, only ${this.#options.running} may be`);
      if (length > holder.reserved) broken.push(`slot ${slot} has ${length} tokens in room for ${holder.reserved}`);
      if (holder.slot !== slot || holder.blocks[0] !== slot) broken.push(`slot ${slot}'s holder is in ${holder.slot}`);
      const known =
        holder.sequence === null ? this.#resting.includes(holder) : this.#bySequence.get(holder.sequence) === holder;
      if (!known) broken.push(`slot ${slot} is held by nobody`);
    }
    if (held !== this.#bySequence.size + this.#resting.length) broken.push(`${held} slots are in use`);
    if (live !== this.#live) broken.push(`${live} tokens are reserved, ${this.#live} counted`);
    if (cached !== this.#cached) broken.push(`${cached} tokens are cached, ${this.#cached} counted`);
    if (!this.#hasRoom(cached)) broken.push(`${live} live and ${cached} cached tokens exceed the capacity`);
    return broken;
  }

  #holderOf(sequence: number): Holder {
    const holder = this.#bySequence.get(sequence);
    if (holder === undefined) throw new Error(`sequence ${sequence} holds no slot`);
    return holder;
  }

  #hold(holder: Holder): void {
    this.#holders[holder.slot] = holder;
    if (holder.sequence !== null) this.#bySequence.set(holder.sequence, holder);
    this.#drops.write(holder.slot, holder.reserved);
  }

  /** Nothing writes the slot any more: what was committed there is cached from now on. */
  #settle({ slot, reserved }: Holder): void {
    this.#holders[slot] = null;
    this.#live -= reserved;
    this.#cached += this.#index.length(slot);
    this.#lastUse[slot] = ++this.#now;
    this.#drops.shrink(slot);
    if (this.#index.length(slot) < PIECE) this.#truncate(slot, 0);
  }

  /** Room for `more` live tokens, if every cached one went. */
  #hasRoom(more: number): boolean {
    return this.#live + more <= this.#options.capacityTokens;
  }

  #lowestHole(below: number): number | null {
    for (let slot = 0; slot < below; slot++) if (this.#holders[slot] === null) return slot;
    return null;
  }

  /** Positions of the slot that count. */
  #held(slot: number): number {
    return this.#holders[slot]?.reserved ?? this.#index.length(slot);
  }

  /**
   * Empties a slot for a sequence whose first `inPlace` tokens are there already, and makes room for what is live.
   * What is about to be copied here was used last, so nothing is copied over it and it is cut last.
   */
  #vacate(slot: number, inPlace: number): KvCopy[] {
    if (this.#refuge(slot, inPlace) === null) this.#truncate(slot, 0);
    this.#makeRoom();
    const to = this.#refuge(slot, inPlace);
    const tokens = this.#index.length(slot);
    if (to === null) {
      this.#truncate(slot, 0);
      return [];
    }
    this.#truncate(to, 0);
    this.#index.move(slot, to);
    this.#lastUse[to] = this.#lastUse[slot] ?? 0;
    this.#drops.write(to, tokens);
    this.#drops.shrink(slot);
    return [{ from: slot, to, tokens }];
  }

  /** Where the content of a slot that is needed goes; null when it is not worth a copy. */
  #refuge(slot: number, inPlace: number): number | null {
    if (this.#index.length(slot) - inPlace < PIECE || this.#index.heldElsewhere(slot)) return null;
    const { running, slots } = this.#options;
    let refuge: number | null = null;
    let oldest = this.#lastUse[slot] ?? 0;
    for (let each = running; each < slots; each++) {
      if (this.#index.length(each) === 0) return each;
      const lastUse = this.#lastUse[each] ?? 0;
      if (lastUse < oldest) [refuge, oldest] = [each, lastUse];
    }
    return refuge;
  }

  /** Cuts cached content, least recently used first, until it fits beside the live tokens. */
  #makeRoom(): void {
    for (;;) {
      const excess = this.#live + this.#cached - this.#options.capacityTokens;
      if (excess <= 0) return;
      const slot = this.#leastRecentlyUsed();
      if (slot === null) throw new Error(`${excess} tokens too many are live`);
      this.#truncate(slot, Math.floor(Math.max(0, this.#index.length(slot) - excess) / PIECE) * PIECE);
    }
  }

  #leastRecentlyUsed(): number | null {
    let found: number | null = null;
    let oldest = Infinity;
    for (let slot = 0; slot < this.#options.slots; slot++) {
      const lastUse = this.#lastUse[slot] ?? 0;
      if (lastUse >= oldest || this.#holders[slot] !== null || this.#index.length(slot) === 0) continue;
      [found, oldest] = [slot, lastUse];
    }
    return found;
  }

  #truncate(slot: number, length: number): void {
    if (this.#holders[slot] === null) this.#cached -= this.#index.length(slot) - length;
    this.#index.truncate(slot, length);
    this.#drops.shrink(slot);
  }
}
