/** Keyed noise: a pure function of (seed, choice, output index, token id). Knows no probabilities. */

/** The tail candidate's own key, where token ids never reach. */
export const TAIL_KEY = 0xffffffff;
/** Key of the uniform that picks inside the tail. */
export const TAIL_PICK_KEY = 0xfffffffe;

/** One MurmurHash3 (32-bit, Appleby) body round: word `k` into state `h`. */
function mix(h: number, k: number): number {
  let word = Math.imul(k, 0xcc9e2d51);
  word = Math.imul((word << 15) | (word >>> 17), 0x1b873593);
  const state = h ^ word;
  return (Math.imul((state << 13) | (state >>> 19), 5) + 0xe6546b64) | 0;
}

/** MurmurHash3's finalizer: every input bit reaches every output bit. */
function finish(h: number): number {
  let state = h ^ 20;
  state = Math.imul(state ^ (state >>> 16), 0x85ebca6b);
  state = Math.imul(state ^ (state >>> 13), 0xc2b2ae35);
  return (state ^ (state >>> 16)) >>> 0;
}

/** What is common to all tokens of a draw: compute once, then `uniform(key, token)` for each candidate. */
export function drawKey(seed: readonly [low: number, high: number], choice: number, index: number): number {
  return mix(mix(mix(seed[0], seed[1]), choice), index);
}

/** In (0, 1), resolution 2⁻³². */
export function uniform(key: number, token: number): number {
  return (finish(mix(key, token)) + 0.5) / 0x1_0000_0000;
}

/** Standard Gumbel noise: argmax of log p + Gumbel is a draw from p. */
export function gumbel(key: number, token: number): number {
  return -Math.log(-Math.log(uniform(key, token)));
}

/** A 53-bit integer seed → the two halves of a noise key. */
export function seedKey(seed: number): readonly [low: number, high: number] {
  return [seed >>> 0, Math.floor(seed / 0x1_0000_0000) | 0];
}
