/** Sentences → how much they say about a question: BM25 and self-information over one message. Knows no message. */
import { stemOf } from './characters.ts';
import { randomMultiplier } from './hash-ids.ts';

/** Robertson and Zaragoza (2009), "The Probabilistic Relevance Framework: BM25 and Beyond". */
const [K1, B] = [1.2, 0.75];
/** A sentence that speaks of "it" gets a share of the score of its neighbours. */
const NEIGHBOUR_SHARE = 0.3;
/** Bits of self-information decide where the question's words do not (Li et al. 2023, Selective Context). */
const INFORMATION_WEIGHT = 0.02;
/** Ideographs and kana count one by one. */
const WORD = /[\u{2e80}-\u{9fff}]|(?:(?![\u{2e80}-\u{9fff}])[\p{L}\p{M}])+/gu;
/** Rarer words are many, and logarithms slow. */
const KNOWN_TIMES = 64;

export interface Passages {
  /** Of all words, passage after passage; 0 for a stop word. */
  readonly stems: Int32Array;
  /** Where each passage ends in `stems`. */
  readonly ends: Int32Array;
}

/** One score a passage, all in the same order; equal input gives equal scores. */
export function rankPassages(passages: Passages, question: string): Float64Array {
  const terms = new Terms(passages);
  for (const word of question.match(WORD) ?? []) terms.ask(stemOf(word));
  const own = terms.relevance();
  const scores = new Float64Array(own.length);
  for (let i = 0; i < own.length; i++) {
    const before = i > 0 ? (own[i - 1] ?? 0) : 0;
    const after = i + 1 < own.length ? (own[i + 1] ?? 0) : 0;
    scores[i] = (own[i] ?? 0) + NEIGHBOUR_SHARE * Math.max(before, after);
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

  /** All zeros. */
  take(length: number): Int32Array {
    this.#used += length;
    return Memory.#all.subarray(this.#used - length, this.#used).fill(0);
  }
}

/** The words of all passages as small numbers, from 1 on, by their stems; 0 for a stop word. */
class Terms {
  readonly #ends: Int32Array;
  /** Of each word. */
  readonly #ids: Int32Array;
  /** Open addressing; 0 = free. */
  readonly #slots: Int32Array;
  readonly #shift: number;
  readonly #multiplier = randomMultiplier();
  readonly #stems: Int32Array;
  /** By id: passages that hold it, the last of them from 1 on, times that it stands there, and whether the question has it. */
  readonly #holding: Int32Array;
  readonly #lastSeen: Int32Array;
  readonly #times: Int32Array;
  readonly #asked: Int32Array;
  #size = 1;
  /** Words that are no stop words. */
  #total = 0;

  constructor({ stems, ends }: Passages) {
    const count = ends.at(-1) ?? 0;
    const bits = 1 + Math.ceil(Math.log2(count + 2));
    const memory = new Memory(2 ** bits + 6 * (count + 1));
    this.#shift = 32 - bits;
    this.#slots = memory.take(2 ** bits);
    this.#ends = ends;
    this.#ids = memory.take(count + 1);
    this.#stems = memory.take(count + 1);
    this.#holding = memory.take(count + 1);
    this.#lastSeen = memory.take(count + 1);
    this.#times = memory.take(count + 1);
    this.#asked = memory.take(count + 1);
    this.#count(stems, ends);
  }

  /** The question has this stem. */
  ask(stem: number): void {
    const id = this.#slots[this.#slotOf(stem)] ?? 0;
    if (id !== 0) this.#asked[id] = 1;
  }

  /** Of each passage. */
  relevance(): Float64Array {
    const bits = this.#selfInformation();
    const scores = new Float64Array(this.#ends.length);
    const ends = this.#ends;
    const ids = this.#ids;
    const asked = this.#asked;
    for (let passage = 0, at = 0; passage < scores.length; passage++) {
      const begin = at;
      let words = 0;
      let information = 0;
      let found = 0;
      for (const end = ends[passage] ?? 0; at < end; at++) {
        const id = ids[at] ?? 0;
        if (id === 0) continue;
        words++;
        information += bits[id] ?? 0;
        found += asked[id] ?? 0;
      }
      if (words === 0) continue;
      const bm25 = found === 0 ? 0 : this.#bm25([begin, at], words);
      scores[passage] = (INFORMATION_WEIGHT * information) / words + bm25;
    }
    return scores;
  }

  /** Every word; what the loop needs is at hand. */
  #count(stems: Int32Array, ends: Int32Array): void {
    const slots = this.#slots;
    const known = this.#stems;
    const times = this.#times;
    const lastSeen = this.#lastSeen;
    const holding = this.#holding;
    let total = 0;
    for (let passage = 0, at = 0; passage < ends.length; passage++) {
      for (const end = ends[passage] ?? 0; at < end; at++) {
        const stem = stems[at] ?? 0;
        if (stem === 0) continue;
        total++;
        const slot = this.#slotOf(stem);
        let id = slots[slot] ?? 0;
        if (id === 0) {
          id = this.#size++;
          slots[slot] = id;
          known[id] = stem;
        }
        this.#ids[at] = id;
        times[id] = (times[id] ?? 0) + 1;
        if (lastSeen[id] === passage + 1) continue;
        lastSeen[id] = passage + 1;
        holding[id] = (holding[id] ?? 0) + 1;
      }
    }
    this.#total = total;
  }

  /** Of this stem, or the free one where it belongs: there are more than twice as many slots as words. */
  #slotOf(stem: number): number {
    const slots = this.#slots;
    const stems = this.#stems;
    let slot = Math.imul(stem, this.#multiplier) >>> this.#shift;
    for (let id = slots[slot] ?? 0; id !== 0 && stems[id] !== stem; id = slots[slot] ?? 0) {
      slot = (slot + 1) & (slots.length - 1);
    }
    return slot;
  }

  /** By id, in bits. */
  #selfInformation(): Float64Array {
    const bits = new Float64Array(this.#size);
    const known = new Float64Array(KNOWN_TIMES);
    const total = this.#total;
    for (let id = 1; id < bits.length; id++) {
      const times = this.#times[id] ?? 1;
      const isKnown = times < KNOWN_TIMES && known[times] !== 0;
      bits[id] = isKnown ? (known[times] ?? 0) : Math.log2(total / times);
      if (times < KNOWN_TIMES) known[times] = bits[id] ?? 0;
    }
    return bits;
  }

  #bm25([begin, end]: readonly [number, number], words: number): number {
    const passages = this.#ends.length;
    const meanWords = Math.max(1, this.#total / Math.max(1, passages));
    const found: number[] = [];
    for (let at = begin; at < end; at++) {
      const id = this.#ids[at] ?? 0;
      if (this.#asked[id] === 1) found.push(id);
    }
    let score = 0;
    for (let i = 0; i < found.length; i++) {
      const id = found[i] ?? 0;
      if (found.indexOf(id) < i) continue;
      let times = 1;
      for (let k = i + 1; k < found.length; k++) if (found[k] === id) times++;
      const holding = this.#holding[id] ?? 0;
      const idf = Math.log(1 + (passages - holding + 0.5) / (holding + 0.5));
      score += (idf * times * (K1 + 1)) / (times + K1 * (1 - B + (B * words) / meanWords));
    }
    return score;
  }
}
