/** How far each slot was ever written, and so which positions can be given back. Knows not what they hold. */
import type { KvDrop } from './kv-cache.ts';

export class SlotDrops {
  readonly #slotTokens: number;
  /** [slots] Positions from here on hold nothing. */
  readonly #written: Int32Array;
  /** Slots that may hold less than was written. */
  readonly #shrunk = new Set<number>();

  constructor(slots: number, slotTokens: number) {
    this.#slotTokens = slotTokens;
    this.#written = new Int32Array(slots);
  }

  /** The first `upTo` positions are, or may soon be, written. */
  write(slot: number, upTo: number): void {
    this.#written[slot] = Math.max(this.written(slot), upTo);
  }

  written(slot: number): number {
    return this.#written[slot] ?? 0;
  }

  shrink(slot: number): void {
    this.#shrunk.add(slot);
  }

  /** Trusts no earlier drop: the plan that carried it may have failed. */
  forget(): void {
    this.#written.fill(this.#slotTokens);
    for (const slot of this.#written.keys()) this.#shrunk.add(slot);
  }

  /** Everything beyond what a slot now holds, once. Computed late: a slot that is in use again drops only its rest. */
  take(held: (slot: number) => number): readonly KvDrop[] {
    const drops: KvDrop[] = [];
    for (const block of this.#shrunk) {
      const tokens = held(block);
      if (tokens < this.written(block)) drops.push({ block, tokens });
      this.#written[block] = tokens;
    }
    this.#shrunk.clear();
    return drops;
  }
}
