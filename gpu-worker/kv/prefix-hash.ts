/** Hash of a prefix in a tenant's space, chained piece by piece. Knows no blocks; who finds by it compares the tokens. */

/** Tokens hashed at a time: what is shorter is not found. */
export const PIECE = 16;

/** Two independent 32-bit lanes: equal prefixes have equal hashes, different ones can be made to collide. */
export class PrefixHash {
  low = 0;
  high = 0;

  /** The hash of no tokens. */
  reset(salt: string): void {
    this.low = 0x3c6ef372;
    this.high = 0x510e527f;
    for (let i = 0; i < salt.length; i++) this.#mix(salt.charCodeAt(i));
  }

  /** Chains the PIECE tokens that start at `at`. */
  add(tokens: Int32Array, at: number): void {
    for (let i = at; i < at + PIECE; i++) this.#mix(tokens[i] ?? 0);
  }

  #mix(word: number): void {
    const low = Math.imul(this.low ^ word, 0x9e3779b1);
    const high = Math.imul(this.high ^ word, 0x85ebca6b);
    this.low = low ^ (low >>> 15);
    this.high = high ^ (high >>> 13);
  }
}
