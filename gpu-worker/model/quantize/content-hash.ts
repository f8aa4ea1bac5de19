/** The hash of a folder's weights, remembered as long as the files keep their size and times. Knows no format. */
import { createHash, type Hash } from 'node:crypto';
import { closeSync, readFileSync, readSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { requireModelFile } from '../folder.ts';
import { safetensorsFiles } from '../safetensors.ts';

const CHUNK_BYTES = 1 << 22;

/** SHA-256 over names and contents of the folder's safetensors files. `memory`: a folder for what is remembered. */
export function contentHash(folder: string, memory: string): string {
  const files = safetensorsFiles(folder).toSorted();
  const states = files.map((file) => {
    const { size, mtimeNs, ctimeNs, ino } = statSync(join(folder, file), { bigint: true });
    return `${file} ${size} ${mtimeNs} ${ctimeNs} ${ino}`;
  });
  const state = [resolve(folder), ...states].join('\n');
  const place = join(memory, `${createHash('sha256').update(resolve(folder)).digest('hex').slice(0, 32)}.source`);
  const known = remembered(place, state);
  if (known !== null) return known;
  const hash = createHash('sha256');
  for (const file of files) hashFile(hash.update(`${file}\n`), folder, file);
  const digest = hash.digest('hex');
  writeFileSync(place, `${digest}\n${state}`, { mode: 0o600 });
  return digest;
}

function remembered(place: string, state: string): string | null {
  try {
    const text = readFileSync(place, 'utf8');
    const digest = text.slice(0, 64);
    return /^[0-9a-f]{64}$/.test(digest) && text.slice(65) === state ? digest : null;
  } catch {
    return null;
  }
}

function hashFile(hash: Hash, folder: string, file: string): void {
  const { descriptor } = requireModelFile(folder, file);
  try {
    const chunk = Buffer.alloc(CHUNK_BYTES);
    for (let read = -1; read !== 0;) {
      read = readSync(descriptor, chunk, 0, chunk.length, null);
      hash.update(chunk.subarray(0, read));
    }
  } finally {
    closeSync(descriptor);
  }
}
