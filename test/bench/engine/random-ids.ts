/** Token ids without meaning, and numbers, as pure functions of a key. */
import { createHash } from 'node:crypto';

const WORDS_PER_DIGEST = 8;

/** [count]: uniform below `below`. */
export function randomIds(key: string, count: number, below: number): Int32Array {
  const ids = new Int32Array(count);
  let digest = Buffer.alloc(0);
  for (let i = 0; i < count; i++) {
    const at = i % WORDS_PER_DIGEST;
    if (at === 0) digest = createHash('sha256').update(`${key} ${i}`).digest();
    ids[i] = digest.readUInt32LE(4 * at) % below;
  }
  return ids;
}
