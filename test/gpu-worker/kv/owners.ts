/** Sequences for examples: tokens that no other call made, and owners of them. */
import { expect } from 'vitest';
import type { KvAdmission, KvCache, KvOwner } from '../../../gpu-worker/kv/kv-cache.ts';

let last = 0;

/** `length` tokens that share no prefix with any made before. */
export function fresh(length: number): Int32Array {
  last++;
  return Int32Array.from({ length }, (_, i) => last * 1000 + i);
}

export function joined(...parts: readonly Int32Array[]): Int32Array {
  return Int32Array.from(parts.flatMap((part) => [...part]));
}

interface OwnerOptions {
  readonly salt?: string;
  /** Tokens to pin. */
  readonly pins?: number;
}

/** The scheduler's steps of a sequence in short. */
export class Owners {
  readonly #kv: KvCache;
  readonly #owners = new Map<number, KvOwner>();

  constructor(kv: KvCache) {
    this.#kv = kv;
  }

  match(tokens: Int32Array, salt = ''): number {
    return this.#kv.match({ sequence: 0, salt, tokens });
  }

  admit(sequence: number, tokens: Int32Array, { salt = '', pins = 0 }: OwnerOptions = {}): KvAdmission | null {
    const owner = { sequence, salt, tokens, pinned: pins };
    const admission = this.#kv.admit(owner, tokens.length);
    if (admission !== null) this.#owners.set(sequence, owner);
    return admission;
  }

  /** Everything that the sequence knows is in KV. */
  commit(sequence: number, tokens = this.#owners.get(sequence)?.tokens ?? new Int32Array()): void {
    this.#kv.commit(sequence, tokens, tokens.length);
  }

  /** Admits, commits and releases: the tokens are cached. */
  cache(sequence: number, tokens: Int32Array, options: OwnerOptions = {}): void {
    expect(this.admit(sequence, tokens, options)).not.toBeNull();
    this.commit(sequence);
    this.#kv.release(sequence, 0);
  }
}
