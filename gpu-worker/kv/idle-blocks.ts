/**
 * Blocks that only the prefix cache holds, in the order in which they may be evicted: pinned ones after all others, as
 * many as the budget allows. Knows not what they hold.
 */
import { EvictionQueue } from './eviction-queue.ts';
import { PIN_TURNOVERS } from './kv-cache.ts';

export class IdleBlocks {
  readonly #plain: EvictionQueue;
  readonly #pinned: EvictionQueue;
  readonly #maxPinned: number;
  /** [blocks] 1: it is, or will be, among the pinned. */
  readonly #isPinned: Uint8Array;
  /** [blocks] Evictions before its last use. */
  readonly #usedAt: Float64Array;
  #evictions = 0;

  constructor(blocks: number, maxPinned: number) {
    this.#plain = new EvictionQueue(blocks);
    this.#pinned = new EvictionQueue(blocks);
    this.#maxPinned = maxPinned;
    this.#isPinned = new Uint8Array(blocks);
    this.#usedAt = new Float64Array(blocks);
  }

  get size(): number {
    return this.#plain.size + this.#pinned.size;
  }

  get pinnedSize(): number {
    return this.#pinned.size;
  }

  has(block: number): boolean {
    return this.#plain.has(block) || this.#pinned.has(block);
  }

  /** From its next push on. What it continues must be pinned too. */
  pin(block: number): void {
    this.#isPinned[block] = 1;
  }

  /** It begins anew. */
  unpin(block: number): void {
    this.#isPinned[block] = 0;
  }

  /** The last to be evicted of its kind. Over budget, those pinned blocks that were used longest ago become plain. */
  push(block: number): void {
    this.#usedAt[block] = this.#evictions;
    if (this.#isPinned[block] === 0) this.#plain.push(block);
    else this.#pinned.push(block);
    if (this.#pinned.size > this.#maxPinned) this.#unpinOldest();
  }

  remove(block: number): void {
    if (this.#plain.has(block)) this.#plain.remove(block);
    else this.#pinned.remove(block);
  }

  /** Takes the first to be evicted; null when there is none. */
  shift(): number | null {
    this.#evictions++;
    const [oldest] = this.#pinned;
    // Pins that nobody uses end.
    if (oldest !== undefined && this.#evictions - (this.#usedAt[oldest] ?? 0) > PIN_TURNOVERS * this.#usedAt.length) {
      this.#unpinOldest();
    }
    return this.#plain.shift() ?? this.#pinned.shift();
  }

  /** First to be evicted first. */
  *[Symbol.iterator](): Generator<number> {
    yield* this.#plain;
    yield* this.#pinned;
  }

  #unpinOldest(): void {
    const block = this.#pinned.shift();
    if (block === null) return;
    this.#isPinned[block] = 0;
    this.#plain.push(block);
  }
}
