/** Drafts by prompt lookup: what followed the same n-gram before will follow again. Knows no model. */
import type { Drafter } from './drafter.ts';

export interface NgramOptions {
  /** Longest n-gram looked for, tokens. */
  readonly longest: number;
  /** Shortest n-gram that counts as a match, tokens. */
  readonly shortest: number;
  /** Tokens remembered, a power of two; older ones are forgotten. Memory is at most 12 bytes for each. */
  readonly window: number;
}

export const NGRAM_DEFAULTS: NgramOptions = { longest: 5, shortest: 3, window: 131_072 };

const SMALLEST_CAPACITY = 256;
/** Earlier occurrences looked at for one proposal, latest first: bounds the time when an n-gram is everywhere. */
const MAX_CHAIN = 64;
/** How far a match is followed back, beyond `longest`, to tell how sure it is. */
const MATCH_LIMIT = 16;

interface Match {
  /** Position of the earlier occurrence's last token. */
  readonly end: number;
  readonly length: number;
}

const NO_MATCH: Match = { end: -1, length: 0 };
const NO_TOKENS = new Int32Array();

/**
 * Prompt lookup decoding (Saxena, 2023; "ngram" in vLLM and SGLang) over prompt and output: finds the longest n-gram
 * that ends the sequence and occurred before, the latest occurrence of it, and proposes what came after. A proposal
 * that reaches the end of the known text goes on with what it has just proposed, so a period continues.
 *
 * The index is one hash chain over n-grams of the shortest length (as in LZ77 coders): `heads` has the latest position
 * of each hash, `previous` the one before each position, and a walk along the chain measures the matches. All three
 * arrays are rings of the same power of two, which doubles until it reaches the window.
 */
export class NgramDrafter implements Drafter {
  readonly #options: NgramOptions;
  /** [capacity]: the token at position p is at p mod capacity. */
  #tokens = NO_TOKENS;
  /** [capacity]: 1 + position of the latest n-gram's last token, by hash; 0 = none. */
  #heads = NO_TOKENS;
  /** [capacity]: 1 + the position before this one in its chain; 0 = none. */
  #previous = NO_TOKENS;
  #mask = 0;
  #length = 0;
  /** Of the present end; null = not looked for yet. */
  #match: Match | null = NO_MATCH;

  constructor(options: NgramOptions = NGRAM_DEFAULTS) {
    const { longest, shortest, window } = options;
    if (shortest < 1 || longest < shortest || longest > MATCH_LIMIT) {
      throw new RangeError(`n-grams of ${shortest} to ${longest} tokens`);
    }
    if (window < SMALLEST_CAPACITY || (window & (window - 1)) !== 0) throw new RangeError(`a window of ${window}`);
    this.#options = options;
  }

  reset(tokens: Int32Array): void {
    this.#length = 0;
    this.#allocate(tokens.length + 1);
    this.observe(tokens);
  }

  observe(tokens: ArrayLike<number>): void {
    for (let i = 0; i < tokens.length; i++) this.#append(tokens[i] ?? 0);
    this.#match = null;
  }

  matchLength(): number {
    return this.#find().length;
  }

  propose(count: number): Int32Array {
    const { end, length } = this.#find();
    if (length === 0 || count < 1) return NO_TOKENS;
    const proposal = new Int32Array(count);
    for (let i = 0; i < count; i++) {
      const from = end + 1 + i;
      proposal[i] = (from < this.#length ? this.#token(from) : proposal[from - this.#length]) ?? 0;
    }
    return proposal;
  }

  dispose(): void {
    this.#length = 0;
    this.#tokens = this.#heads = this.#previous = NO_TOKENS;
    this.#match = NO_MATCH;
  }

  #append(token: number): void {
    const capacity = this.#tokens.length;
    if (this.#length >= capacity && capacity < this.#options.window) this.#grow();
    this.#tokens[this.#length & this.#mask] = token;
    this.#length++;
    if (this.#length >= this.#options.shortest) this.#index(this.#length - 1);
  }

  #allocate(atLeast: number): void {
    const { window } = this.#options;
    let capacity = SMALLEST_CAPACITY;
    while (capacity < atLeast && capacity < window) capacity *= 2;
    this.#tokens = new Int32Array(capacity);
    this.#heads = new Int32Array(capacity);
    this.#previous = new Int32Array(capacity);
    this.#mask = capacity - 1;
  }

  /** Before the first wrap only, so positions are indices. */
  #grow(): void {
    const old = this.#tokens;
    this.#allocate(old.length + 1);
    this.#tokens.set(old);
    for (let end = this.#options.shortest - 1; end < this.#length; end++) this.#index(end);
  }

  /** Puts the n-gram that ends at `end` at the head of its chain. */
  #index(end: number): void {
    const slot = this.#hash(end);
    this.#previous[end & this.#mask] = this.#heads[slot] ?? 0;
    this.#heads[slot] = end + 1;
  }

  #find(): Match {
    this.#match ??= this.#search();
    return this.#match;
  }

  #search(): Match {
    const { shortest, longest } = this.#options;
    const last = this.#length - 1;
    if (last < shortest) return NO_MATCH;
    const oldest = Math.max(0, this.#length - this.#tokens.length);
    let best = -1;
    let bestLength = shortest - 1;
    let end = (this.#previous[last & this.#mask] ?? 0) - 1;
    // A link that points before the window is the end of the chain: its own slot has been written over.
    for (let looked = 0; end >= oldest && looked < MAX_CHAIN && bestLength < longest; looked++) {
      const length = this.#agreement(end, longest);
      if (length > bestLength) [best, bestLength] = [end, length];
      end = (this.#previous[end & this.#mask] ?? 0) - 1;
    }
    return best < 0 ? NO_MATCH : { end: best, length: this.#agreement(best, MATCH_LIMIT) };
  }

  /** Tokens that the text up to `end` and the whole text have in common at their ends, at most `limit`. */
  #agreement(end: number, limit: number): number {
    const last = this.#length - 1;
    const most = Math.min(limit, end + 1, end + this.#tokens.length - last);
    let length = 0;
    while (length < most && this.#token(end - length) === this.#token(last - length)) length++;
    return length;
  }

  #token(position: number): number {
    return this.#tokens[position & this.#mask] ?? 0;
  }

  /** Multiplicative hash of the shortest n-gram that ends at `end`, as an index of `heads`. */
  #hash(end: number): number {
    let hash = 0;
    for (let i = end - this.#options.shortest + 1; i <= end; i++) {
      hash = Math.imul(hash ^ this.#token(i), 0x9e3779b1);
      hash ^= hash >>> 15;
    }
    return hash & this.#mask;
  }
}
