/** 32-bit hashes → small numbers, in order of first sight. Knows not what is hashed. */

const MIN_SLOTS = 1 << 10;

/**
 * Of a table's slots (Dietzfelbinger et al. 1997, multiply-shift): nobody can choose hashes that fall together. Nothing
 * but time depends on it.
 */
export function randomMultiplier(): number {
  return (Math.random() * 2 ** 32) | 1;
}

/** Open addressing; at most half of the slots are taken. Ids go out newest first, so that no search path breaks. */
export class HashIds {
  size = 0;
  /** Id + 1; 0 = free. */
  #slots = new Int32Array(MIN_SLOTS);
  #hashes = new Int32Array(MIN_SLOTS / 2);
  #shift = 32 - Math.log2(MIN_SLOTS);
  readonly #multiplier = randomMultiplier();

  /** null if `add` never had it. */
  find(hash: number): number | null {
    const known = this.#slots[this.#slotOf(hash)] ?? 0;
    return known === 0 ? null : known - 1;
  }

  /** Known or new: then the size before. */
  add(hash: number): number {
    const slot = this.#slotOf(hash);
    const known = this.#slots[slot] ?? 0;
    if (known !== 0) return known - 1;
    const id = this.size++;
    this.#slots[slot] = id + 1;
    this.#hashes[id] = hash;
    if (2 * this.size >= this.#slots.length) this.#grow();
    return id;
  }

  /** Forgets the newest until `size` are left. */
  shrink(size: number): void {
    if (size === 0) this.#slots.fill(0);
    else for (let id = this.size - 1; id >= size; id--) this.#slots[this.#slotOf(this.#hashes[id] ?? 0)] = 0;
    this.size = size;
  }

  #grow(): void {
    const hashes = new Int32Array(this.#slots.length);
    hashes.set(this.#hashes);
    this.#hashes = hashes;
    this.#slots = new Int32Array(2 * this.#slots.length);
    this.#shift--;
    for (let id = 0; id < this.size; id++) this.#slots[this.#slotOf(hashes[id] ?? 0)] = id + 1;
  }

  /** Of this hash, or the free one where it belongs. */
  #slotOf(hash: number): number {
    const slots = this.#slots;
    const hashes = this.#hashes;
    const mask = slots.length - 1;
    let slot = Math.imul(hash, this.#multiplier) >>> this.#shift;
    for (let id = slots[slot] ?? 0; id !== 0 && hashes[id - 1] !== hash; id = slots[slot] ?? 0) {
      slot = (slot + 1) & mask;
    }
    return slot;
  }
}
