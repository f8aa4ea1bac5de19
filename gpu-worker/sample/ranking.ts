/** Order statistics of a row of probabilities, likeliest first, equal ones by id, without sorting it. Knows no sampling. */

/**
 * The smallest normal float32. Softmax in float32 gives tokens at −Infinity up to 4e−39 instead of 0: whatever lies
 * below this counts as impossible.
 */
export const LEAST_PROB = 2 ** -126;

/** A prefix of the ranking. */
export interface Prefix {
  readonly count: number;
  /** Summed probability. */
  readonly mass: number;
  /** The id of its least likely token; −1 when the ranking is empty. */
  readonly last: number;
}

/** Where a prefix ends: as soon as it has that many tokens or that much mass. */
export interface Goal {
  readonly count: number;
  readonly mass: number;
}

/** Non-negative float32 values order as their bits do; below 2 they have 30 bits, told apart in three digits. */
const LOWER_BITS = 9;
const LOWER_DIGITS = 1 << LOWER_BITS;
const LOWER_SHIFTS = [LOWER_BITS, 0];
const TOP_SHIFT = 2 * LOWER_BITS;
const TOP_DIGITS = 1 << 12;
/** Top digits below this one are those of probabilities below LEAST_PROB. */
const LEAST_TOP_DIGIT = 0x80_0000 >>> TOP_SHIFT;

interface Histogram {
  readonly counts: Int32Array;
  readonly masses: Float64Array;
}

/** A prefix in the making: what lies above the digits chosen so far, and the tokens that share them. */
interface Descent {
  readonly above: Goal;
  readonly bits: number;
  readonly equal: number;
}

/**
 * A radix select: one pass over the row to build it, one for each prefix. Tokens below LEAST_PROB are not ranked.
 * Its loops read a typed array's length once: read at every turn, V8 takes up to three times as long (measured).
 */
export class Ranking {
  readonly #probs: Float32Array;
  readonly #bits: Int32Array;
  readonly #top: Histogram;

  /** `probs` [V] in [0, 2). */
  constructor(probs: Float32Array) {
    this.#probs = probs;
    this.#bits = new Int32Array(probs.buffer, probs.byteOffset, probs.length);
    this.#top = topHistogram(probs, this.#bits);
  }

  /** The shortest prefix, of at least one token, that reaches the goal; the whole ranking when none does. */
  until(goal: Goal): Prefix {
    let at = descend(this.#top, { above: { count: 0, mass: 0 }, bits: 0, equal: 0 }, goal);
    let tokens = idsOf(this.#bits, at);
    for (const shift of LOWER_SHIFTS) {
      at = descend(this.#lowerHistogram(tokens, shift), at, goal);
      tokens = narrowed(this.#bits, tokens, { ...at, shift });
    }
    const { above, bits } = at;
    const prob = probOf(bits);
    const rank = Math.min(tokens.length, goal.count - above.count, fewest(prob, above.mass, goal.mass));
    return { count: above.count + rank, mass: above.mass + rank * prob, last: tokens[rank - 1] ?? -1 };
  }

  /** Tokens of probability `least` and more. */
  atLeast(least: number): Goal {
    const probs = this.#probs;
    const bound = Math.max(least, LEAST_PROB);
    let count = 0;
    let mass = 0;
    const size = probs.length;
    for (let id = 0; id < size; id++) {
      const p = probs[id] ?? 0;
      // No branch: which tokens are likely is hard to predict.
      const inside = p >= bound ? 1 : 0;
      count += inside;
      mass += inside * p;
    }
    return { count, mass };
  }

  /** Of `tokens`: count and mass by the digit at `shift`. */
  #lowerHistogram(tokens: Int32Array, shift: number): Histogram {
    const counts = new Int32Array(LOWER_DIGITS);
    const masses = new Float64Array(LOWER_DIGITS);
    const bits = this.#bits;
    const probs = this.#probs;
    const size = tokens.length;
    for (let i = 0; i < size; i++) {
      const id = tokens[i] ?? 0;
      const digit = ((bits[id] ?? 0) >>> shift) & (LOWER_DIGITS - 1);
      counts[digit] = (counts[digit] ?? 0) + 1;
      masses[digit] = (masses[digit] ?? 0) + (probs[id] ?? 0);
    }
    return { counts, masses };
  }
}

/** Unlike the lower ones it sees every token: no branch and no check inside. */
function topHistogram(probs: Float32Array, bits: Int32Array): Histogram {
  const counts = new Int32Array(TOP_DIGITS);
  const masses = new Float64Array(TOP_DIGITS);
  const size = bits.length;
  for (let id = 0; id < size; id++) {
    const digit = ((bits[id] as number) >>> TOP_SHIFT) & (TOP_DIGITS - 1);
    counts[digit] = (counts[digit] as number) + 1;
    masses[digit] = (masses[digit] as number) + (probs[id] as number);
  }
  counts.fill(0, 0, LEAST_TOP_DIGIT);
  return { counts, masses };
}

/** The ids, ascending, whose top digit is the chosen one. */
function idsOf(bits: Int32Array, chosen: Descent): Int32Array {
  const ids = new Int32Array(chosen.equal);
  const digit = chosen.bits;
  let found = 0;
  const size = bits.length;
  for (let id = 0; id < size; id++) {
    if ((bits[id] as number) >>> TOP_SHIFT !== digit) continue;
    ids[found] = id;
    found++;
  }
  return ids;
}

/** Those of `ids` whose digits down to `shift` are the chosen ones. */
function narrowed(bits: Int32Array, ids: Int32Array, chosen: Descent & { readonly shift: number }): Int32Array {
  if (chosen.equal === ids.length) return ids;
  return ids.filter((id) => (bits[id] ?? 0) >>> chosen.shift === chosen.bits);
}

/** Chooses the digit, from the largest down, at which the goal is reached; the smallest that occurs if none does. */
function descend({ counts, masses }: Histogram, from: Descent, goal: Goal): Descent {
  let { above } = from;
  let { count, mass } = above;
  let chosen = 0;
  for (let digit = counts.length - 1; digit >= 0; digit--) {
    if (counts[digit] === 0) continue;
    chosen = digit;
    above = { count, mass };
    count += counts[digit] ?? 0;
    mass += masses[digit] ?? 0;
    if (count >= goal.count || mass >= goal.mass) break;
  }
  return { above, bits: from.bits * counts.length + chosen, equal: counts[chosen] ?? 0 };
}

/** The least n ≥ 1 with mass + n × prob ≥ goal. */
function fewest(prob: number, mass: number, goal: number): number {
  const n = Math.max(1, Math.ceil((goal - mass) / prob));
  if (!Number.isFinite(n)) return n;
  // The quotient is rounded: one to either side is what counts.
  if (n > 1 && mass + (n - 1) * prob >= goal) return n - 1;
  return mass + n * prob >= goal ? n : n + 1;
}

function probOf(bits: number): number {
  return new Float32Array(Uint32Array.of(bits).buffer)[0] ?? 0;
}
