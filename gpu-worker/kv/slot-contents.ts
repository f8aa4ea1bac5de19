/**
 * What each slot holds, and what goes when room is short. A slot is held, by whoever reserved positions in it, or free:
 * empty, or with cached content. Knows no sequences and no plans.
 */
import { PIN_TURNOVERS, PINNED_SHARE, type KvCopy, type KvDrop, type KvOwner } from './kv-cache.ts';
import { NONE } from './piece-table.ts';
import { PIECE } from './prefix-hash.ts';
import { PrefixIndex, type Found } from './prefix-index.ts';
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

/** What an admission takes from the cache. */
interface Reuse {
  /** Tokens that go on in the slot where they are. */
  readonly inPlace: number;
  /** Slot that is about to be copied from: nothing is copied over it. */
  readonly source: number;
}

export class SlotContents {
  readonly #options: SlotOptions;
  readonly #index: PrefixIndex;
  /** [slots] Tokens that the holder has reserved; null: nobody holds the slot. */
  readonly #reserved: (number | null)[];
  /** [slots] When content was last used, on a clock that only orders. */
  readonly #lastUse: Float64Array;
  readonly #drops: SlotDrops;
  readonly #pins: SlotPins;
  #now = 0;
  #live = 0;
  #cached = 0;

  constructor(options: SlotOptions) {
    const { slots, running, slotTokens, capacityTokens } = options;
    this.#options = options;
    this.#index = new PrefixIndex(slots, slotTokens);
    this.#reserved = new Array<number | null>(slots).fill(null);
    this.#lastUse = new Float64Array(slots);
    this.#drops = new SlotDrops(slots, slotTokens);
    const maxSlots = Math.max(1, Math.floor((slots - running) / 2));
    this.#pins = new SlotPins(slots, { maxTokens: Math.floor(capacityTokens * PINNED_SHARE), maxSlots });
  }

  /** Tokens reserved by holders. */
  get live(): number {
    return this.#live;
  }

  /** Tokens in free slots, and those of them that are pinned. */
  get cached(): number {
    return this.#cached;
  }

  get pinned(): number {
    return this.#pins.total;
  }

  /** Tokens committed to the slot. */
  length(slot: number): number {
    return this.#index.length(slot);
  }

  match(owner: KvOwner): number {
    return this.#index.find(owner, owner.tokens.length - 1, NONE)?.tokens ?? 0;
  }

  /** Room for `more` live tokens, if every cached one went. */
  hasRoom(more: number): boolean {
    return this.#live + more <= this.#options.capacityTokens;
  }

  lowestFree(below: number): number | null {
    for (let slot = 0; slot < below; slot++) if (this.#reserved[slot] === null) return slot;
    return null;
  }

  /**
   * A sequence moves into a free slot, with room for `upTo` tokens and the longest cached prefix. `pinned`: tokens of a
   * pin that goes on in place.
   */
  enter(slot: number, owner: KvOwner, upTo: number): { cached: number; copies: KvCopy[]; pinned: number } {
    const { salt, tokens } = owner;
    const found: Found | null = this.#index.find(owner, Math.min(tokens.length - 1, upTo), slot);
    const cached = found?.tokens ?? 0;
    if (found !== null) this.#lastUse[found.block] = ++this.#now;
    this.#live += upTo;
    const inPlace = found?.block === slot ? cached : 0;
    const pin = this.#pins.of(slot);
    const copies = this.#vacate(slot, { inPlace, source: found?.block ?? NONE });
    const pinned = copies.length === 0 && pin <= inPlace ? pin : 0;
    if (found !== null && found.block !== slot) copies.push({ from: found.block, to: slot, tokens: cached });
    this.#index.open(slot, NONE, salt);
    this.#index.append(slot, tokens, { from: 0, to: cached });
    this.#hold(slot, upTo);
    return { cached, copies, pinned };
  }

  /** The holder's room grows to `upTo` tokens, which there are. */
  grow(slot: number, upTo: number): void {
    this.#live += upTo - (this.#reserved[slot] ?? 0);
    this.#hold(slot, upTo);
    this.#makeRoom();
  }

  append(slot: number, tokens: Int32Array, range: { readonly from: number; readonly to: number }): void {
    this.#index.append(slot, tokens, range);
  }

  /** Nothing writes the slot any more: what was committed there is cached from now on, `pinned` tokens of it pinned. */
  leave(slot: number, pinned: number): void {
    this.#live -= this.#reserved[slot] ?? 0;
    this.#reserved[slot] = null;
    this.#cached += this.#index.length(slot);
    this.#lastUse[slot] = ++this.#now;
    this.#drops.shrink(slot);
    if (this.#index.length(slot) < PIECE) this.#truncate(slot, 0);
    if (pinned > 0) this.#pin(slot, Math.min(pinned, this.#index.length(slot)));
    else if (this.#pins.total > 0) this.#endOldPin();
  }

  /** A holder goes to the free slot `to`, with all it has. */
  move(from: number, to: number): readonly KvCopy[] {
    const copies = this.#vacate(to, { inPlace: 0, source: NONE });
    const tokens = this.#index.length(from);
    this.#index.move(from, to);
    this.#hold(to, this.#reserved[from] ?? 0);
    this.#reserved[from] = null;
    this.#drops.shrink(from);
    return tokens > 0 ? [...copies, { from, to, tokens }] : copies;
  }

  /** No content of the slot is found any more. */
  forget(slot: number): void {
    this.#truncate(slot, 0);
  }

  forgetDrops(): void {
    this.#drops.forget();
  }

  takeDrops(): readonly KvDrop[] {
    return this.#drops.take((slot) => this.#held(slot));
  }

  /** Every broken invariant, in words; empty when all hold. */
  violations(): readonly string[] {
    const broken = [...this.#index.violations()];
    let [live, cached] = [0, 0];
    for (const [slot, reserved] of this.#reserved.entries()) {
      const length = this.#index.length(slot);
      if (this.#held(slot) > this.#drops.written(slot)) broken.push(`slot ${slot} holds positions it has dropped`);
      if (this.#pins.of(slot) > (reserved === null ? length : 0)) broken.push(`slot ${slot} pins more than is cached`);
      if (reserved === null) {
        cached += length;
        if (length > 0 && length < PIECE) broken.push(`slot ${slot} keeps ${length} tokens, which nobody can find`);
        continue;
      }
      live += reserved;
      if (length > reserved) broken.push(`slot ${slot} has ${length} tokens in room for ${reserved}`);
    }
    if (live !== this.#live) broken.push(`${live} tokens are reserved, ${this.#live} counted`);
    if (cached !== this.#cached) broken.push(`${cached} tokens are cached, ${this.#cached} counted`);
    if (this.#pins.isOverBudget) broken.push(`${this.#pins.total} tokens are pinned`);
    if (!this.hasRoom(cached)) broken.push(`${live} live and ${cached} cached tokens exceed the capacity`);
    return broken;
  }

  #hold(slot: number, reserved: number): void {
    this.#reserved[slot] = reserved;
    this.#drops.write(slot, reserved);
  }

  /** Positions of the slot that count. */
  #held(slot: number): number {
    return this.#reserved[slot] ?? this.#index.length(slot);
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

  /**
   * Empties a slot for a sequence whose first `inPlace` tokens are there already, and makes room for what is live.
   * Nothing is copied over what is about to be copied here; if it is cut, its positions go after the copy.
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
      if (lastUse >= oldest || this.#reserved[slot] !== null || this.#index.length(slot) === 0) continue;
      if (isMeant(slot)) [found, oldest] = [slot, lastUse];
    }
    return found;
  }

  #truncate(slot: number, length: number): void {
    if (this.#reserved[slot] === null) this.#cached -= this.#index.length(slot) - length;
    if (length < this.#pins.of(slot)) this.#pins.set(slot, 0);
    this.#index.truncate(slot, length);
    this.#drops.shrink(slot);
  }
}
