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
 * - Pinned tokens are cut after all others, and are worth every copy; the latest slot with a prefix keeps its pin.
 * - `arrange` moves the highest running sequence into the lowest hole, one a call.
 */
import { PIN_TURNOVERS, PINNED_SHARE, type KvAdmission, type KvCache, type KvCopy } from './kv-cache.ts';
import type { KvDrop, KvOwner, KvUsage } from './kv-cache.ts';
import { NONE } from './piece-table.ts';
import { PIECE } from './prefix-hash.ts';
import { PrefixIndex } from './prefix-index.ts';
import { SlotDrops } from './slot-drops.ts';
import { SlotPins } from './slot-pins.ts';

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
  /** Tokens that will be pinned. */
  readonly pinned: number;
  /** Tokens that count as live. */
  reserved: number;
  /** [1] */
  readonly blocks: Int32Array;
  /** Last plan that may write; 0 while the sequence lives. */
  readonly until: number;
}

/** What an admission takes from the cache. */
interface Reuse {
  /** Tokens that go on in the slot where they are. */
  readonly inPlace: number;
  /** Slot that is about to be copied from: nothing is copied over it. */
  readonly source: number;
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
  readonly #pins: SlotPins;
  #now = 0;
  #live = 0;
  #cached = 0;
  #queries = 0;
  #hits = 0;

  constructor(options: SlotOptions) {
    const { slots, running, slotTokens, capacityTokens } = options;
    if (running > slots) throw new Error(`${running} running sequences cannot have ${slots} slots`);
    this.#options = options;
    this.#index = new PrefixIndex(slots, slotTokens);
    this.#holders = new Array<Holder | null>(slots).fill(null);
    this.#lastUse = new Float64Array(slots);
    this.#drops = new SlotDrops(slots, slotTokens);
    const maxSlots = Math.max(1, Math.floor((slots - running) / 2));
    this.#pins = new SlotPins(slots, { maxTokens: Math.floor(capacityTokens * PINNED_SHARE), maxSlots });
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
    const inPlace = found?.block === slot ? cached : 0;
    const pinHere = this.#pins.of(slot);
    const copies = this.#vacate(slot, { inPlace, source: found?.block ?? NONE });
    // A pin whose tokens go on in place stays with them.
    const keptPin = copies.length === 0 && pinHere <= inPlace ? pinHere : 0;
    if (found !== null && found.block !== slot) copies.push({ from: found.block, to: slot, tokens: cached });
    this.#index.open(slot, NONE, salt);
    this.#index.append(slot, tokens, { from: 0, to: cached });
    const pinned = Math.max(keptPin, owner.pinned ?? 0);
    this.#hold({ sequence, slot, pinned, reserved: upTo, blocks: Int32Array.of(slot), until: 0 });
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
    const copies = this.#vacate(to, { inPlace: 0, source: NONE });
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
    const { capacityTokens: capacity } = this.#options;
    const [live, cached, queries, hits] = [this.#live, this.#cached, this.#queries, this.#hits];
    return { capacity, live, cached, pinned: this.#pins.total, queries, hits };
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
        if (this.#pins.of(slot) > length) broken.push(`slot ${slot} pins ${this.#pins.of(slot)} of ${length} tokens`);
        if (length > 0 && length < PIECE) broken.push(`slot ${slot} keeps ${length} tokens, which nobody can find`);
        continue;
      }
      held++;
      live += holder.reserved;
      if (this.#pins.of(slot) > 0) broken.push(`slot ${slot} is in use and pinned`);
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
    if (this.#pins.isOverBudget) broken.push(`${this.#pins.total} tokens are pinned`);
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
  #settle({ slot, reserved, pinned }: Holder): void {
    this.#holders[slot] = null;
    this.#live -= reserved;
    this.#cached += this.#index.length(slot);
    this.#lastUse[slot] = ++this.#now;
    this.#drops.shrink(slot);
    if (this.#index.length(slot) < PIECE) this.#truncate(slot, 0);
    if (pinned > 0) this.#pin(slot, Math.min(pinned, this.#index.length(slot)));
    else if (this.#pins.total > 0) this.#endOldPin();
  }

  /** Every sequence that ends takes a slot: so many times all of them were replaced. */
  #endOldPin(): void {
    const oldest = this.#oldestPin();
    if (oldest === null || this.#now - (this.#lastUse[oldest] ?? 0) <= PIN_TURNOVERS * this.#options.slots) return;
    this.#pins.set(oldest, 0);
  }

  /** Of slots that begin with the same tokens one is enough, and over budget the least recently used pins end. */
  #pin(slot: number, tokens: number): void {
    for (let other = 0; other < this.#options.slots; other++) {
      const pinned = this.#pins.of(other);
      if (pinned > 0 && other !== slot && this.#index.sameBegin(slot, other, pinned)) this.#pins.set(other, 0);
    }
    // What nobody can find is worth no pin.
    this.#pins.set(slot, tokens < PIECE ? 0 : tokens);
    for (let oldest = this.#oldestPin(); this.#pins.isOverBudget && oldest !== null; oldest = this.#oldestPin()) {
      this.#pins.set(oldest, 0);
    }
  }

  #oldestPin(): number | null {
    return this.#leastRecentlyUsed((slot) => this.#pins.of(slot) > 0);
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
  #vacate(slot: number, reuse: Reuse): KvCopy[] {
    if (this.#refuge(slot, reuse) === null) this.#truncate(slot, 0);
    this.#makeRoom();
    const to = this.#refuge(slot, reuse);
    const tokens = this.#index.length(slot);
    if (to === null) {
      this.#truncate(slot, 0);
      return [];
    }
    this.#truncate(to, 0);
    this.#index.move(slot, to);
    this.#pins.set(to, this.#pins.of(slot));
    this.#pins.set(slot, 0);
    this.#lastUse[to] = this.#lastUse[slot] ?? 0;
    this.#drops.write(to, tokens);
    this.#drops.shrink(slot);
    return [{ from: slot, to, tokens }];
  }

  /** Where the content of a slot that is needed goes; null when it is not worth a copy. */
  #refuge(slot: number, { inPlace, source }: Reuse): number | null {
    const isPinned = this.#pins.of(slot) > inPlace;
    const isLittle = this.#index.length(slot) - inPlace < PIECE || this.#index.heldElsewhere(slot);
    if (isLittle && !isPinned) return null;
    const { running, slots } = this.#options;
    for (let each = running; each < slots; each++) {
      if (this.#index.length(each) === 0 && each !== source) return each;
    }
    // Pinned content may take the place of any that is not.
    const isOpen = (each: number) => each >= running && each !== source && this.#pins.of(each) === 0;
    const open = this.#leastRecentlyUsed(isOpen);
    return open !== null && (isPinned || this.#usedBefore(open, slot)) ? open : null;
  }

  #usedBefore(one: number, other: number): boolean {
    return (this.#lastUse[one] ?? 0) < (this.#lastUse[other] ?? 0);
  }

  /** Cuts cached content, pinned tokens last, else least recently used first, until it fits beside the live tokens. */
  #makeRoom(): void {
    for (;;) {
      const excess = this.#live + this.#cached - this.#options.capacityTokens;
      if (excess <= 0) return;
      const slot = this.#leastRecentlyUsed((each) => this.#index.length(each) > this.#leastKept(each));
      if (slot !== null) {
        const kept = Math.floor(Math.max(0, this.#index.length(slot) - excess) / PIECE) * PIECE;
        this.#truncate(slot, Math.max(kept, this.#leastKept(slot)));
        continue;
      }
      const pinned = this.#oldestPin();
      if (pinned === null) throw new Error(`${excess} tokens too many are live`);
      this.#pins.set(pinned, 0);
    }
  }

  /** Pinned tokens, up to the end of their last piece. */
  #leastKept(slot: number): number {
    return Math.ceil(this.#pins.of(slot) / PIECE) * PIECE;
  }

  /** Of the slots with content that nobody holds. */
  #leastRecentlyUsed(isMeant: (slot: number) => boolean): number | null {
    let found: number | null = null;
    let oldest = Infinity;
    for (let slot = 0; slot < this.#options.slots; slot++) {
      const lastUse = this.#lastUse[slot] ?? 0;
      if (lastUse >= oldest || this.#holders[slot] !== null || this.#index.length(slot) === 0) continue;
      if (isMeant(slot)) [found, oldest] = [slot, lastUse];
    }
    return found;
  }

  #truncate(slot: number, length: number): void {
    if (this.#holders[slot] === null) this.#cached -= this.#index.length(slot) - length;
    if (length < this.#pins.of(slot)) this.#pins.set(slot, 0);
    this.#index.truncate(slot, length);
    this.#drops.shrink(slot);
  }
}
