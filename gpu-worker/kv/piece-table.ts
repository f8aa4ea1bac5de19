/**
 * Finds pieces by hash: a chained hash table that allows many pieces of one hash, in flat arrays, so that it never
 * allocates. A piece is a number below `size`; what it stands for the owner knows.
 */
import type { PrefixHash } from './prefix-hash.ts';

/** No piece, no block. */
export const NONE = -1;

export class PieceTable {
  readonly #mask: number;
  /** Links hold piece + 1, and 0 for none: pages that were never written stay unmapped. */
  readonly #heads: Int32Array;
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  readonly #low: Int32Array;
  readonly #high: Int32Array;
  #count = 0;

  constructor(size: number) {
    const buckets = 2 ** Math.ceil(Math.log2(Math.max(2, size)));
    this.#mask = buckets - 1;
    this.#heads = new Int32Array(buckets);
    this.#next = new Int32Array(size);
    this.#previous = new Int32Array(size);
    this.#low = new Int32Array(size);
    this.#high = new Int32Array(size);
  }

  /** Pieces in the table. */
  get count(): number {
    return this.#count;
  }

  /** `piece` is not in the table. */
  add(piece: number, { low, high }: PrefixHash): void {
    const head = this.#heads[low & this.#mask] ?? 0;
    this.#low[piece] = low;
    this.#high[piece] = high;
    this.#next[piece] = head;
    this.#previous[piece] = 0;
    if (head > 0) this.#previous[head - 1] = piece + 1;
    this.#heads[low & this.#mask] = piece + 1;
    this.#count++;
  }

  /** `piece` is in the table. */
  remove(piece: number): void {
    const next = this.#next[piece] ?? 0;
    const previous = this.#previous[piece] ?? 0;
    if (previous > 0) this.#next[previous - 1] = next;
    else this.#heads[(this.#low[piece] ?? 0) & this.#mask] = next;
    if (next > 0) this.#previous[next - 1] = previous;
    this.#count--;
  }

  /** A piece of this hash, the last one added first; NONE when there is none. */
  first({ low, high }: PrefixHash): number {
    return this.#seek(this.#heads[low & this.#mask] ?? 0, low, high);
  }

  /** The next piece of the same hash as `piece`. */
  after(piece: number): number {
    return this.#seek(this.#next[piece] ?? 0, this.#low[piece] ?? 0, this.#high[piece] ?? 0);
  }

  /** Sets `hash` to that of `piece`. */
  read(piece: number, hash: PrefixHash): void {
    hash.low = this.#low[piece] ?? 0;
    hash.high = this.#high[piece] ?? 0;
  }

  /** True when `piece` is in the table under this hash. */
  has(piece: number, { low, high }: PrefixHash): boolean {
    if (this.#low[piece] !== low || this.#high[piece] !== high) return false;
    const previous = this.#previous[piece] ?? 0;
    return (previous > 0 ? this.#next[previous - 1] : this.#heads[low & this.#mask]) === piece + 1;
  }

  #seek(from: number, low: number, high: number): number {
    let link = from;
    while (link > 0 && (this.#low[link - 1] !== low || this.#high[link - 1] !== high)) link = this.#next[link - 1] ?? 0;
    return link - 1;
  }
}
