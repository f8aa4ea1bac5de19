/** Random numbers for draws that nobody needs to repeat. Knows no probabilities. */

export interface RandomSource {
  /** An integer in [0, 2³²). */
  uint32(): number;
}

/** xoshiro128** (Blackman, Vigna, "Scrambled linear pseudorandom number generators"): 16 bytes of state, period 2¹²⁸ − 1. */
export class Xoshiro128 implements RandomSource {
  readonly #state = new Uint32Array(4);

  /** Equal seeds give equal numbers. Not all zero. */
  constructor(seed: readonly [number, number, number, number]) {
    this.#state.set(seed);
    if (this.#state.every((word) => word === 0)) throw new RangeError('the seed of a generator must not be all zero');
  }

  static fromEntropy(): Xoshiro128 {
    const [a = 0, b = 0, c = 0, d = 0] = crypto.getRandomValues(new Uint32Array(4));
    // The set bit rules out the one state that never leaves zero.
    return new Xoshiro128([a, b, c, d | 1]);
  }

  uint32(): number {
    const state = this.#state;
    const [a = 0, b = 0, c = 0, d = 0] = state;
    const result = Math.imul(rotateLeft(Math.imul(b, 5), 7), 9) >>> 0;
    const third = c ^ a;
    const fourth = d ^ b;
    state[0] = a ^ fourth;
    state[1] = b ^ third;
    state[2] = third ^ (b << 9);
    state[3] = rotateLeft(fourth, 11);
    return result;
  }
}

/** In [2⁻²⁴, 1 − 2⁻²⁴], a float32 without rounding: never 0 and never 1, also after a product in float32. */
export function uniformFloat32(random: RandomSource): number {
  return ((random.uint32() >>> 9) + 0.5) / 0x80_0000;
}

function rotateLeft(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits));
}
