/** Which tokens a sequence has seen, and how often its output has each: what penalties look at. Knows no logits. */

const FIRST_CAPACITY = 16;

/** Owned by the sequence; a plan only refers to it. Lists lie flat, so that a GPU's inputs are copies of them. */
export class TokenHistory {
  #ids = new Int32Array(FIRST_CAPACITY);
  #counts = new Int32Array(FIRST_CAPACITY);
  readonly #places = new Map<number, number>();

  constructor(promptIds: Iterable<number> = [], outputIds: Iterable<number> = []) {
    for (const id of promptIds) this.addPrompt(id);
    for (const id of outputIds) this.addOutput(id);
  }

  /** [seen] each id of prompt and output once, in the order they came; valid until one is added. */
  get ids(): Int32Array {
    return this.#ids.subarray(0, this.#places.size);
  }

  /** [seen] how often each of `ids` stands in the output; 0 = only in the prompt. */
  get counts(): Int32Array {
    return this.#counts.subarray(0, this.#places.size);
  }

  /** Index in `ids`; null = not seen. */
  placeOf(id: number): number | null {
    return this.#places.get(id) ?? null;
  }

  addPrompt(id: number): void {
    this.#place(id);
  }

  addOutput(id: number): void {
    const place = this.#place(id);
    this.#counts[place] = (this.#counts[place] ?? 0) + 1;
  }

  #place(id: number): number {
    const known = this.#places.get(id);
    if (known !== undefined) return known;
    const place = this.#places.size;
    if (place === this.#ids.length) [this.#ids, this.#counts] = [doubled(this.#ids), doubled(this.#counts)];
    this.#ids[place] = id;
    this.#places.set(id, place);
    return place;
  }
}

function doubled(values: Int32Array): Int32Array<ArrayBuffer> {
  const grown = new Int32Array(values.length * 2);
  grown.set(values);
  return grown;
}
