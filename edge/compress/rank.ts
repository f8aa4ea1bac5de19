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
const MIN_WORDS = 1 << 11;

export interface Passages {
  /** Of all words, passage after passage; 0 for a stop word. */
  readonly stems: Int32Array;
  /** Where each passage ends in `stems`, for the first `count` passages. */
  readonly ends: Int32Array;
  readonly count: number;
}

/** Made once it is needed: nothing random may be drawn before the first request. */
let terms: Terms | null = null;

/** One score a passage, all in the same order, valid until the next ranking; equal input gives equal scores. */
export function rankPassages(passages: Passages, question: string): Float64Array {
  terms ??= new Terms();
  terms.read(passages);
  for (const word of question.match(WORD) ?? []) terms.ask(stemOf(word));
  return terms.scores(passages);
}

/** The words of all passages as small numbers, from 1 on, by their stems; 0 for a stop word. Memory that each ranking uses again. */
class Terms {
  /** Of each word. */
  #ids = new Int32Array(MIN_WORDS);
  /** Open addressing; 0 = free. More than twice as many as words. */
  #slots = new Int32Array(4 * MIN_WORDS);
  #shift = 32;
  readonly #multiplier = randomMultiplier();
  #stems = new Int32Array(MIN_WORDS);
  /** By id: passages that hold it, the last of them from 1 on, times that it stands there, and whether the question has it. */
  #holding = new Int32Array(MIN_WORDS);
  #lastSeen = new Int32Array(MIN_WORDS);
  #times = new Int32Array(MIN_WORDS);
  #asked = new Uint8Array(MIN_WORDS);
  /** By id: bits of self-information. */
  #bits = new Float64Array(MIN_WORDS);
  /** By passage: its own score, and with its neighbours'. */
  #own = new Float64Array(MIN_WORDS);
  #scores = new Float64Array(MIN_WORDS);
  #size = 1;
  /** Words that are no stop words. */
  #total = 0;

  read({ stems, ends, count }: Passages): void {
    const words = ends[count - 1] ?? 0;
    this.#reserve(Math.max(words, count) + 1);
    const slotBits = 1 + Math.ceil(Math.log2(words + 2));
    this.#shift = 32 - slotBits;
    this.#slots.fill(0, 0, 2 ** slotBits);
    this.#size = 1;
    const slots = this.#slots;
    const ids = this.#ids;
    const times = this.#times;
    const lastSeen = this.#lastSeen;
    let total = 0;
    for (let passage = 0, at = 0; passage < count; passage++) {
      for (const end = ends[passage] ?? 0; at < end; at++) {
        const stem = stems[at] ?? 0;
        if (stem === 0) {
          ids[at] = 0;
          continue;
        }
        total++;
        const slot = this.#slotOf(stem);
        const known = slots[slot] ?? 0;
        const id = known === 0 ? this.#added(stem, slot) : known;
        ids[at] = id;
        times[id] = (times[id] ?? 0) + 1;
        if (lastSeen[id] === passage + 1) continue;
        lastSeen[id] = passage + 1;
        this.#holding[id] = (this.#holding[id] ?? 0) + 1;
      }
    }
    this.#total = total;
  }

  /** The question has this stem. */
  ask(stem: number): void {
    const id = this.#slots[this.#slotOf(stem)] ?? 0;
    if (id !== 0) this.#asked[id] = 1;
  }

  /** Of each passage, with its neighbours. */
  scores({ ends, count }: Passages): Float64Array {
    this.#tellBits();
    const own = this.#own;
    for (let i = 0, begin = 0; i < count; i++) {
      const end = ends[i] ?? 0;
      own[i] = this.#relevance(begin, end, count);
      begin = end;
    }
    for (let i = 0; i < count; i++) {
      const before = i > 0 ? (own[i - 1] ?? 0) : 0;
      const after = i + 1 < count ? (own[i + 1] ?? 0) : 0;
      this.#scores[i] = (own[i] ?? 0) + NEIGHBOUR_SHARE * Math.max(before, after);
    }
    return this.#scores;
  }

  /** Of the passage whose words are from `begin` to before `end`. */
  #relevance(begin: number, end: number, passages: number): number {
    const ids = this.#ids;
    const bits = this.#bits;
    const asked = this.#asked;
    let words = 0;
    let information = 0;
    let found = 0;
    for (let at = begin; at < end; at++) {
      const id = ids[at] ?? 0;
      if (id === 0) continue;
      words++;
      information += bits[id] ?? 0;
      found += asked[id] ?? 0;
    }
    if (words === 0) return 0;
    const bm25 = found === 0 ? 0 : this.#bm25(ids.subarray(begin, end), words, passages);
    return (INFORMATION_WEIGHT * information) / words + bm25;
  }

  #added(stem: number, slot: number): number {
    const id = this.#size++;
    this.#slots[slot] = id;
    this.#stems[id] = stem;
    this.#times[id] = 0;
    this.#lastSeen[id] = 0;
    this.#holding[id] = 0;
    this.#asked[id] = 0;
    return id;
  }

  #reserve(length: number): void {
    if (length <= this.#ids.length) return;
    this.#slots = new Int32Array(2 ** Math.ceil(Math.log2(8 * length)));
    [this.#ids, this.#stems] = [new Int32Array(2 * length), new Int32Array(2 * length)];
    [this.#holding, this.#lastSeen] = [new Int32Array(2 * length), new Int32Array(2 * length)];
    [this.#times, this.#asked] = [new Int32Array(2 * length), new Uint8Array(2 * length)];
    [this.#own, this.#scores] = [new Float64Array(2 * length), new Float64Array(2 * length)];
    this.#bits = new Float64Array(2 * length);
  }

  /** Of this stem, or the free one where it belongs. */
  #slotOf(stem: number): number {
    const slots = this.#slots;
    const stems = this.#stems;
    const mask = -1 >>> this.#shift;
    let slot = Math.imul(stem, this.#multiplier) >>> this.#shift;
    for (let id = slots[slot] ?? 0; id !== 0 && stems[id] !== stem; id = slots[slot] ?? 0) slot = (slot + 1) & mask;
    return slot;
  }

  #tellBits(): void {
    const bits = this.#bits;
    const byTimes: number[] = [];
    for (let id = 1; id < this.#size; id++) {
      const times = this.#times[id] ?? 1;
      bits[id] = byTimes[times] ?? Math.log2(this.#total / times);
      if (times < KNOWN_TIMES) byTimes[times] = bits[id] ?? 0;
    }
  }

  #bm25(ids: Int32Array, words: number, passages: number): number {
    const meanWords = Math.max(1, this.#total / Math.max(1, passages));
    const found: number[] = [];
    for (const id of ids) if (id !== 0 && this.#asked[id] === 1) found.push(id);
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
