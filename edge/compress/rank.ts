/** Sentences → how much they say about a question: BM25 and self-information over one message. Knows no message. */
import { hashOf, STEM_CHARS } from './characters.ts';
import { STOP_WORDS } from './words.ts';

/** Robertson and Zaragoza (2009), "The Probabilistic Relevance Framework: BM25 and Beyond". */
const [K1, B] = [1.2, 0.75];
/** A sentence that speaks of "it" gets a share of the score of its neighbours. */
const NEIGHBOUR_SHARE = 0.3;
/** Bits of self-information decide where the question's words do not (Li et al. 2023, Selective Context). */
const INFORMATION_WEIGHT = 0.02;
/** The first ids of every table. Longer words could be others' stems. */
const STOP_HASHES = [...new Set([...STOP_WORDS].filter((word) => word.length < STEM_CHARS).map(hashOf))];
/** Ideographs and kana count one by one. */
const WORD = /[\u{2e80}-\u{9fff}]|(?:(?![\u{2e80}-\u{9fff}])[\p{L}\p{M}])+/gu;

/** Hashes of the stems of its words. */
export type Passage = readonly number[];

/** One score a passage, all in the same order; equal input gives equal scores. */
export function rankPassages(passages: readonly Passage[], question: string): readonly number[] {
  const terms = new TermTable();
  const asked = new Set<number>();
  for (const word of question.match(WORD) ?? []) {
    const id = terms.idOf(hashOf(word.slice(0, STEM_CHARS)));
    if (id !== null) asked.add(id);
  }
  const ids = passages.map((passage) => {
    const known: number[] = [];
    for (const stem of passage) {
      const id = terms.idOf(stem);
      if (id !== null) known.push(id);
    }
    return known;
  });
  const statistics = { asked, ...statisticsOf(ids, terms.size) };
  const own = ids.map((each) => relevance(each, statistics));
  return own.map((score, i) => score + NEIGHBOUR_SHARE * Math.max(own[i - 1] ?? 0, own[i + 1] ?? 0));
}

interface Statistics {
  readonly passages: number;
  /** Terms of a passage. */
  readonly meanTerms: number;
  /** Per term: passages that hold it. */
  readonly holding: Int32Array;
  /** Per term: its self-information among all terms of the passages. */
  readonly bits: Float64Array;
}

function statisticsOf(ids: readonly (readonly number[])[], size: number): Statistics {
  const [holding, times, lastSeen] = [new Int32Array(size), new Int32Array(size), new Int32Array(size).fill(-1)];
  let total = 0;
  for (let passage = 0; passage < ids.length; passage++) {
    for (const id of ids[passage] ?? []) {
      times[id] = (times[id] ?? 0) + 1;
      if (lastSeen[id] !== passage) holding[id] = (holding[id] ?? 0) + 1;
      lastSeen[id] = passage;
      total++;
    }
  }
  const bits = Float64Array.from(times, (count) => Math.log2(total / Math.max(1, count)));
  return { passages: ids.length, meanTerms: Math.max(1, total / Math.max(1, ids.length)), holding, bits };
}

function relevance(
  ids: readonly number[],
  { asked, passages, meanTerms, holding, bits }: Statistics & { readonly asked: ReadonlySet<number> },
): number {
  if (ids.length === 0) return 0;
  const found: number[] = [];
  let information = 0;
  for (const id of ids) {
    information += bits[id] ?? 0;
    if (asked.has(id)) found.push(id);
  }
  let score = (INFORMATION_WEIGHT * information) / ids.length;
  for (const id of new Set(found)) {
    const times = found.filter((each) => each === id).length;
    const idf = Math.log(1 + (passages - (holding[id] ?? 0) + 0.5) / ((holding[id] ?? 0) + 0.5));
    score += (idf * times * (K1 + 1)) / (times + K1 * (1 - B + (B * ids.length) / meanTerms));
  }
  return score;
}

/** Words → small numbers, by a 32-bit hash of their stems: two stems that collide count as one. */
class TermTable {
  #slots = new Int32Array(1024).fill(-1);
  readonly #hashes: number[] = [];

  constructor() {
    for (const hash of STOP_HASHES) this.#find(hash);
  }

  get size(): number {
    return this.#hashes.length;
  }

  /** null: a stop word. */
  idOf(hash: number): number | null {
    const id = this.#find(hash);
    return id < STOP_HASHES.length ? null : id;
  }

  #find(hash: number): number {
    const mask = this.#slots.length - 1;
    for (let slot = mix(hash) & mask; ; slot = (slot + 1) & mask) {
      const id = this.#slots[slot] ?? -1;
      if (id >= 0 && this.#hashes[id] === hash) return id;
      if (id >= 0) continue;
      this.#slots[slot] = this.#hashes.push(hash) - 1;
      if (this.#hashes.length * 2 > this.#slots.length) this.#grow();
      return this.#hashes.length - 1;
    }
  }

  #grow(): void {
    const slots = new Int32Array(this.#slots.length * 2).fill(-1);
    for (const [id, hash] of this.#hashes.entries()) {
      let slot = mix(hash) & (slots.length - 1);
      while ((slots[slot] ?? -1) >= 0) slot = (slot + 1) & (slots.length - 1);
      slots[slot] = id;
    }
    this.#slots = slots;
  }
}

/** Spreads the hash over its low bits. */
function mix(hash: number): number {
  const mixed = Math.imul(hash ^ (hash >>> 16), 0x45d9f3b);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}
