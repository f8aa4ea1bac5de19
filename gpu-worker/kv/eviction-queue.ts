/** Blocks in the order in which they may be evicted, each at most once: every operation in constant time. */
import { NONE } from './piece-table.ts';

export class EvictionQueue {
  /** [blocks + 1] A ring through an entry that is no block; NONE = not in the queue. */
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  readonly #ends: number;
  #size = 0;

  constructor(blocks: number) {
    this.#ends = blocks;
    this.#next = new Int32Array(blocks + 1).fill(NONE);
    this.#previous = new Int32Array(blocks + 1).fill(NONE);
    this.#next[blocks] = blocks;
    this.#previous[blocks] = blocks;
  }

  get size(): number {
    return this.#size;
  }

  has(block: number): boolean {
    return block < this.#ends && this.#next[block] !== NONE;
  }

  /** Appends: the last to be evicted. */
  push(block: number): void {
    if (this.has(block)) throw new Error(`block ${block} is in the queue already`);
    this.#link(this.#previous[this.#ends] ?? NONE, block);
    this.#link(block, this.#ends);
    this.#size++;
  }

  remove(block: number): void {
    if (!this.has(block)) throw new Error(`block ${block} is not in the queue`);
    this.#link(this.#previous[block] ?? NONE, this.#next[block] ?? NONE);
    this.#next[block] = NONE;
    this.#previous[block] = NONE;
    this.#size--;
  }

  /** Takes the first to be evicted; null when the queue is empty. */
  shift(): number | null {
    const first = this.#next[this.#ends] ?? NONE;
    if (first === this.#ends) return null;
    this.remove(first);
    return first;
  }

  /** First to be evicted first. */
  *[Symbol.iterator](): Generator<number> {
    for (let block = this.#next[this.#ends] ?? NONE; block !== this.#ends; block = this.#next[block] ?? NONE) {
      yield block;
    }
  }

  #link(before: number, after: number): void {
    this.#next[before] = after;
    this.#previous[after] = before;
  }
}
