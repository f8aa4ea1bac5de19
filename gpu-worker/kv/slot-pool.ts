/** Which KV slots are free. A slot freed while plans are in flight rests until they have retired. Knows no tensors. */

export class SlotPool {
  readonly size: number;
  /** Free slot numbers, ascending: the lowest goes first, so that running rows stay dense. */
  readonly #free: number[];
  /** Freed slots that plans up to `until` may still write. */
  #quarantined: { readonly slot: number; readonly until: number }[] = [];

  constructor(size: number) {
    this.size = size;
    this.#free = Array.from({ length: size }, (_, slot) => slot);
  }

  get freeCount(): number {
    return this.#free.length;
  }

  /** Lowest free slot without taking it; null when none is free. */
  peek(): number | null {
    return this.#free[0] ?? null;
  }

  allocate(): number | null {
    return this.#free.shift() ?? null;
  }

  /** `until`: id of the last launched plan; the slot is free once that plan has retired (0: at once). */
  release(slot: number, until: number): void {
    if (this.holdsFree(slot)) throw new Error(`slot ${slot} released twice`);
    if (until > 0) this.#quarantined.push({ slot, until });
    else this.#insert(slot);
  }

  /** Every plan up to `planId` has been committed or rolled back. */
  retire(planId: number): void {
    for (const { slot, until } of this.#quarantined) if (until <= planId) this.#insert(slot);
    this.#quarantined = this.#quarantined.filter(({ until }) => until > planId);
  }

  holdsFree(slot: number): boolean {
    return this.#free.includes(slot) || this.#quarantined.some((entry) => entry.slot === slot);
  }

  #insert(slot: number): void {
    const at = this.#free.findIndex((other) => other > slot);
    this.#free.splice(at < 0 ? this.#free.length : at, 0, slot);
  }
}
