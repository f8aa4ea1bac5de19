/** A folder of weight files by key: found, made, and the least recently used removed. Knows not what is in them. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, renameSync, rmSync, statSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import type { WeightLayout } from '../weight-plan.ts';
import { contentHash } from './content-hash.ts';
import { readWeightFile, writeWeightFile } from './weight-file.ts';
import type { MappedWeights } from './weight-file.ts';

/** Of all weight files; the one made last stays in any case. */
const MAX_BYTES = 32 * 2 ** 30;
/** A file that is being made for longer was left behind. */
const ABANDONED_MS = 24 * 60 * 60 * 1000;
const SUFFIX = '.weights';
const PARTIAL = '.partial';

export class WeightCache {
  readonly #folder: string;
  readonly #maxBytes: number;

  constructor(folder: string, maxBytes = MAX_BYTES) {
    this.#folder = folder;
    this.#maxBytes = maxBytes;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  }

  /** For weights of a model's folder in a layout, which names schemes and tensors. */
  keyOf(folder: string, { stacks }: WeightLayout): string {
    const hash = createHash('sha256').update(contentHash(folder, this.#folder)).update(JSON.stringify(stacks));
    return hash.digest('hex').slice(0, 40);
  }

  /** Null where it is missing or not sound. */
  find(key: string, layout: WeightLayout): MappedWeights | null {
    const path = this.#path(key);
    const found = readWeightFile(path, layout, key);
    if (found !== null) {
      const now = new Date();
      try {
        utimesSync(path, now, now);
      } catch {
        // Not ours to change: it may be removed sooner than its use deserves.
      }
    }
    return found;
  }

  /** It bears its name only once it is whole; two processes that make the same one do not meet. */
  make(key: string, layout: WeightLayout, fill: (descriptor: number, start: number) => void): MappedWeights {
    const partial = `${this.#path(key)}.${randomBytes(6).toString('hex')}${PARTIAL}`;
    try {
      writeWeightFile(partial, { layout, key }, fill);
      renameSync(partial, this.#path(key));
    } finally {
      rmSync(partial, { force: true });
    }
    this.#removeOld(key);
    const made = readWeightFile(this.#path(key), layout, key);
    if (made === null) throw new Error(`${this.#path(key)} does not read as it was written`);
    return made;
  }

  #path(key: string): string {
    return join(this.#folder, `${key}${SUFFIX}`);
  }

  #removeOld(kept: string): void {
    const files = readdirSync(this.#folder)
      .filter((name) => name.endsWith(SUFFIX) || name.endsWith(PARTIAL))
      .flatMap((name) => {
        const path = join(this.#folder, name);
        const stat = statSync(path, { throwIfNoEntry: false });
        return stat === undefined ? [] : [{ path, bytes: stat.size, usedMs: stat.mtimeMs }];
      })
      .toSorted((a, b) => b.usedMs - a.usedMs);
    let total = 0;
    for (const { path, bytes, usedMs } of files) {
      total += bytes;
      const old = path.endsWith(PARTIAL) ? Date.now() - usedMs > ABANDONED_MS : total > this.#maxBytes;
      if (old && path !== this.#path(kept)) rmSync(path, { force: true });
    }
  }
}
