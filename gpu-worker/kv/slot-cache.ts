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
import type { KvAdmission, KvCache, KvCopy, KvDrop, KvOwner, KvUsage } from './kv-cache.ts';
import { SlotContents, type SlotOptions } from './slot-contents.ts';

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

export class SlotCache implements KvCache {
  readonly #options: SlotOptions;
  readonly #contents: SlotContents;
  /** [slots] */
  readonly #holders: (Holder | null)[];
  readonly #bySequence = new Map<number, Holder>();
  #resting: Holder[] = [];
  #queries = 0;
  #hits = 0;

  constructor(options: SlotOptions) {
    const { slots, running } = options;
    if (running > slots) throw new Error(`${running} running sequences cannot have ${slots} slots`);
    this.#options = options;
    this.#contents = new SlotContents(options);
    this.#holders = new Array<Holder | null>(slots).fill(null);
  }

  match(owner: KvOwner): number {
    return this.#contents.match(owner);
  }

  admit(owner: KvOwner, upTo: number): KvAdmission | null {
    const { sequence, tokens } = owner;
    if (this.#bySequence.has(sequence)) throw new Error(`sequence ${sequence} is admitted already`);
    const slot = this.#contents.lowestFree(this.#options.running);
    if (slot === null || upTo > this.#options.slotTokens || !this.#contents.hasRoom(upTo)) return null;
    const { cached, copies, pinned: before } = this.#contents.enter(slot, owner, upTo);
    const pinned = Math.max(before, owner.pinned ?? 0);
    this.#hold({ sequence, slot, pinned, reserved: upTo, blocks: Int32Array.of(slot), until: 0 });
    this.#queries += tokens.length;
    this.#hits += cached;
    return { cached, copies };
  }

  reserve(sequence: number, upTo: number): boolean {
    const holder = this.#holderOf(sequence);
    const more = upTo - holder.reserved;
    if (more <= 0) return true;
    if (upTo > this.#options.slotTokens || !this.#contents.hasRoom(more)) return false;
    holder.reserved = upTo;
    this.#contents.grow(holder.slot, upTo);
    return true;
  }

  blocks(sequence: number): Int32Array {
    return this.#holderOf(sequence).blocks;
  }

  commit(sequence: number, tokens: Int32Array, computed: number): void {
    const { slot, reserved } = this.#holderOf(sequence);
    const committed = this.#contents.length(slot);
    if (computed < committed || computed > reserved) {
      throw new Error(`sequence ${sequence} commits ${computed} tokens after ${committed}, with room for ${reserved}`);
    }
    this.#contents.append(slot, tokens, { from: committed, to: computed });
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
    const to = this.#contents.lowestFree(from);
    if (holder === null || to === null) return [];
    const copies = this.#contents.move(from, to);
    this.#holders[from] = null;
    this.#hold({ ...holder, slot: to, blocks: Int32Array.of(to) });
    return copies;
  }

  takeDrops(): readonly KvDrop[] {
    return this.#contents.takeDrops();
  }

  usage(): KvUsage {
    const { capacityTokens: capacity } = this.#options;
    const { live, cached, pinned } = this.#contents;
    return { capacity, live, cached, pinned, queries: this.#queries, hits: this.#hits };
  }

  clear(): void {
    for (const [slot, holder] of this.#holders.entries()) {
      if (holder === null || holder.until > 0) this.#contents.forget(slot);
    }
    this.#contents.forgetDrops();
  }

  violations(): readonly string[] {
    const broken = [...this.#contents.violations()];
    let held = 0;
    let live = 0;
    for (const [slot, holder] of this.#holders.entries()) {
      if (holder === null) continue;
      held++;
      live += holder.reserved;
      if (slot >= this.#options.running) broken.push(`slot ${slot} is in use, only ${this.#options.running} may be`);
      if (holder.slot !== slot || holder.blocks[0] !== slot) broken.push(`slot ${slot}'s holder is in ${holder.slot}`);
      const known =
        holder.sequence === null ? this.#resting.includes(holder) : this.#bySequence.get(holder.sequence) === holder;
      if (!known) broken.push(`slot ${slot} is held by nobody`);
    }
    if (held !== this.#bySequence.size + this.#resting.length) broken.push(`${held} slots are in use`);
    if (live !== this.#contents.live) broken.push(`${live} tokens are reserved, ${this.#contents.live} held`);
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
  }

  #settle({ slot, pinned }: Holder): void {
    this.#holders[slot] = null;
    this.#contents.leave(slot, pinned);
  }
}
