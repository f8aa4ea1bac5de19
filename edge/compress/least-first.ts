/** Indices by ascending score, as many as are asked for: a binary heap. Knows not what is scored. */

export class LeastFirst {
  readonly #heap: Int32Array;
  readonly #scores: Float64Array;
  #size: number;

  /** Takes `indices` over. */
  constructor(indices: Int32Array, scores: Float64Array) {
    this.#heap = indices;
    this.#scores = scores;
    this.#size = indices.length;
    for (let i = (this.#size >> 1) - 1; i >= 0; i--) this.#sink(i);
  }

  /** Of equals the greater index; null when all are taken. */
  next(): number | null {
    if (this.#size === 0) return null;
    const heap = this.#heap;
    const least = heap[0] ?? 0;
    heap[0] = heap[--this.#size] ?? 0;
    this.#sink(0);
    return least;
  }

  #sink(from: number): void {
    const heap = this.#heap;
    const moved = heap[from] ?? 0;
    let at = from;
    for (let child = 2 * at + 1; child < this.#size; child = 2 * at + 1) {
      const other = child + 1;
      if (other < this.#size && this.#isBefore(heap[other] ?? 0, heap[child] ?? 0)) child = other;
      if (!this.#isBefore(heap[child] ?? 0, moved)) break;
      heap[at] = heap[child] ?? 0;
      at = child;
    }
    heap[at] = moved;
  }

  #isBefore(a: number, b: number): boolean {
    const one = this.#scores[a] ?? 0;
    const other = this.#scores[b] ?? 0;
    return one < other || (one === other && a > b);
  }
}
