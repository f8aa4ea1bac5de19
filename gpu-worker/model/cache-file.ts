/** Small files of a cache, which may as well not be there: what cannot be kept costs a warning. */
import { randomBytes } from 'node:crypto';
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

/** It bears its name only once it is whole. `problem`: what the warning says where it cannot be written. */
export function keepFile(path: string, data: Uint8Array | string, problem: string): void {
  const partial = `${path}.${randomBytes(6).toString('hex')}.partial`;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    try {
      writeFileSync(partial, data, { mode: 0o600 });
      renameSync(partial, path);
    } finally {
      rmSync(partial, { force: true });
    }
  } catch (error) {
    process.emitWarning(`${problem} in ${dirname(path)}: ${String(error)}`);
  }
}
