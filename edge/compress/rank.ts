/** Sentences → how much they say about a question: BM25 and self-information over one message. Knows no message. */
import { hashOf, STEM_CHARS } from './characters.ts';
import { STOP_WORDS, WordFilter } from './words.ts';

/** Robertson and Zaragoza (2009), "The Probabilistic Relevance Framework: BM25 and Beyond". */
const [K1, B] = [1.2, 0.75];
/** A sentence that speaks of "it" gets a share of the score of its neighbours. */
const NEIGHBOUR_SHARE = 0.3;
/** Bits of self-information decide where the question's words do not (Li et al. 2023, Selective Context). */
const INFORMATION_WEIGHT = 0.02;
/** Longer words could be others' stems. */
const STOP_STEMS = [...STOP_WORDS].filter((word) => word.length < STEM_CHARS);
const STOP_HASHES = new Set(STOP_STEMS.map(hashOf));
const STOP_FILTER = new WordFilter([new Set(STOP_STEMS)]);
/** Ideographs and kana count one by one. */
const WORD = /[\u{2e80}-\u{9fff}]|(?:(?![\u{2e80}-\u{9fff}])[\p{L}\p{M}])+/gu;

export interface Passages {
  /** Hashes of the stems of all words, passage after passage. */
  readonly stems: readonly number[];
  /** Where each passage ends in `stems`. */
  readonly ends: readonly number[];
}

/** One score a passage, all in the same order; equal input gives equal scores. */
export function rankPassages(passages: Passages, question: string): Float64Array {
  const terms = new Terms(passages);
  for (const word of question.match(WORD) ?? []) terms.ask(hashOf(word.slice(0, STEM_CHARS)));
  const own = terms.relevance();
  const scores = new Float64Array(own.length);
  for (let i = 0; i < own.length; i++) {
    scores[i] = (own[i] ?? 0) + NEIGHBOUR_SHARE * Math.max(own[i - 1] ?? 0, own[i + 1] ?? 0);
  }
  return scores;
}

/** Arrays of one ranking, from memory that the next one uses again: many small arrays are slow to make. */
class Memory {
  static #all = new Int32Array(1 << 14);
  #used = 0;

  constructor(size: number) {
    if (size > Memory.#all.length) Memory.#all = new Int32Array(2 * size);
  }

  take(length: number, value: number): Int32Array {
    this.#used += length;
    return Memory.#all.subarray(this.#used - length, this.#used).fill(value);
  }
}

/** The words of all passages as small numbers, by a 32-bit hash of their stems: two stems that collide count as one. */
class Terms {
  readonly #ends: readonly number[];
  /** Of each word; -1 for a stop word. */
  readonly #ids: Int32Array;
  /** Open addressing; -1 = free. */
  readonly #slots: Int32Array;
  readonly #hashes: Int32Array;
  #size = 0;
  /** By id: passages that hold it, times that it stands there, and whether the question has it. */
  readonly #holding: Int32Array;
  readonly #times: Int32Array;
  readonly #asked: Int32Array;
  /** Words that are no stop words. */
  #total = 0;

  constructor({ stems, ends }: Passages) {
    const count = stems.length;
    this.#ends = ends;
    const slots = 2 ** Math.ceil(Math.log2(2 * count + 1));
    const memory = new Memory(slots + 6 * count);
    this.#slots = memory.take(slots, -1);
    const lastSeen = memory.take(count, -1);
    [this.#ids, this.#hashes] = [memory.take(count, 0), memory.take(count, 0)];
    [this.#holding, this.#times, this.#asked] = [memory.take(count, 0), memory.take(count, 0), memory.take(count, 0)];
    for (let passage = 0, at = 0; passage < ends.length; passage++) {
      for (const end = ends[passage] ?? 0; at < end; at++) {
        const id = this.#idOf(stems[at] ?? 0);
        this.#ids[at] = id;
        if (id < 0) continue;
        this.#total++;
        this.#times[id] = (this.#times[id] ?? 0) + 1;
        if (lastSeen[id] === passage) continue;
        this.#holding[id] = (this.#holding[id] ?? 0) + 1;
        lastSeen[id] = passage;
      }
    }
  }

  /** The question has this stem. */
  ask(hash: number): void {
    const id = this.#slots[this.#slotOf(hash)] ?? -1;
    if (id >= 0) this.#asked[id] = 1;
  }

  /** Of each passage. */
  relevance(): Float64Array {
    const bits = new Float64Array(this.#size);
    for (let id = 0; id < bits.length; id++) bits[id] = Math.log2(this.#total / (this.#times[id] ?? 1));
    const scores = new Float64Array(this.#ends.length);
    for (let passage = 0, at = 0; passage < scores.length; passage++) {
      const found: number[] = [];
      let [words, information] = [0, 0];
      for (const end = this.#ends[passage] ?? 0; at < end; at++) {
        const id = this.#ids[at] ?? -1;
        if (id < 0) continue;
        words++;
        information += bits[id] ?? 0;
        if (this.#asked[id] === 1) found.push(id);
      }
      if (words > 0)
        scores[passage] =
          (INFORMATION_WEIGHT * information) / words + (found.length === 0 ? 0 : this.#bm25(found, words));
    }
    return scores;
  }

  #bm25(found: readonly number[], words: number): number {
    const passages = this.#ends.length;
    const meanWords = Math.max(1, this.#total / Math.max(1, passages));
    let score = 0;
    for (const id of new Set(found)) {
      const times = found.filter((each) => each === id).length;
      const holding = this.#holding[id] ?? 0;
      const idf = Math.log(1 + (passages - holding + 0.5) / (holding + 0.5));
      score += (idf * times * (K1 + 1)) / (times + K1 * (1 - B + (B * words) / meanWords));
    }
    return score;
  }

  #idOf(hash: number): number {
    if (STOP_FILTER.mayHold(hash) && STOP_HASHES.has(hash)) return -1;
    const slot = this.#slotOf(hash);
    const known = this.#slots[slot] ?? -1;
    if (known >= 0) return known;
    this.#slots[slot] = this.#size;
    this.#hashes[this.#size] = hash;
    return this.#size++;
  }

  /** Of this hash, or the free one where it belongs: there are twice as many slots as words. */
  #slotOf(hash: number): number {
    const mask = this.#slots.length - 1;
    for (let slot = mix(hash) & mask; ; slot = (slot + 1) & mask) {
      const id = this.#slots[slot] ?? -1;
      if (id < 0 || this.#hashes[id] === hash) return slot;
    }
  }
}

/** Spreads the hash over its low bits. */
function mix(hash: number): number {
  const mixed = Math.imul(hash ^ (hash >>> 16), 0x45d9f3b);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}
