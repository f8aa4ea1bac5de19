/** Files of a model folder, opened only when they lie in it; errors name the file and the fix. Knows no fields. */
import { closeSync, constants, fstatSync, lstatSync, openSync, readdirSync, readSync, realpathSync } from 'node:fs';
import type { Stats } from 'node:fs';
import { basename, dirname, join, sep } from 'node:path';

/** Of a small file: the largest tokenizer.json of the supported families has 34 MB. */
const MAX_TEXT_BYTES = 64 << 20;
/** Of a JSON file of settings. */
const MAX_JSON_BYTES = 4 << 20;

/** The folder is missing, incomplete or holds something that we cannot run; the message names the file and the fix. */
export class ModelFolderError extends Error {
  override readonly name = 'ModelFolderError';
}

/** A field of config.json that we cannot serve; `fix` says what is possible. */
export function refusal(field: string, value: unknown, fix: string): ModelFolderError {
  return new ModelFolderError(`config.json: ${field} = ${String(value)} cannot be served; ${fix}`);
}

export interface OpenFile {
  readonly descriptor: number;
  readonly bytes: number;
}

/**
 * A regular file of the folder, to be closed by the caller; null when there is none of that name. Links are followed
 * where they stay in the folder, or lead from a snapshot of the Hugging Face cache to the blobs beside it.
 */
export function openModelFile(folder: string, file: string): OpenFile | null {
  if (basename(file) !== file || file === '' || file === '.' || file === '..' || file.includes('\0'))
    throw new ModelFolderError(
      `${JSON.stringify(file)} is not in ${folder}: files must lie in the model folder itself`,
    );
  const homes = homesOf(folder);
  const path = homes === null ? null : realPath(join(folder, file));
  if (homes === null || path === null) return null;
  if (!homes.includes(dirname(path)))
    throw new ModelFolderError(
      `${file} in ${folder} is a link to a file outside the folder: copy the file in its place`,
    );
  // A pipe must not block the start.
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stats = fstatSync(descriptor);
    if (!stats.isFile()) throw new ModelFolderError(`${file} in ${folder} is not a regular file`);
    if (stats.nlink > 1 && namesOf(stats, homes) < stats.nlink) {
      throw new ModelFolderError(
        `${file} in ${folder} is a hard link to a file that has a name outside the folder as well: copy the file in its place`,
      );
    }
    return { descriptor, bytes: stats.size };
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}

/** The same of a file that must be there. */
export function requireModelFile(folder: string, file: string): OpenFile {
  const open = openModelFile(folder, file);
  if (open === null) throw new ModelFolderError(`${file} is not in ${folder}: the download may be incomplete`);
  return open;
}

/** Contents of a small file; undefined when there is none. */
export function readModelText(folder: string, file: string, maxBytes = MAX_TEXT_BYTES): string | undefined {
  const open = openModelFile(folder, file);
  if (open === null) return undefined;
  try {
    if (open.bytes > maxBytes)
      throw new ModelFolderError(`${file} in ${folder} has ${open.bytes} bytes, more than the ${maxBytes} it may have`);
    return readBytes(open.descriptor, 0, open.bytes).toString('utf8');
  } finally {
    closeSync(open.descriptor);
  }
}

/** From byte `start` on; fewer where the file ends before. */
export function readBytes(descriptor: number, start: number, bytes: number): Buffer {
  const contents = Buffer.allocUnsafe(bytes);
  let length = 0;
  for (let read = -1; read !== 0 && length < bytes; length += read)
    read = readSync(descriptor, contents, length, bytes - length, start + length);
  return contents.subarray(0, length);
}

/** Undefined when a file that is not required is not there. */
export function readJson(folder: string, file: string, required: boolean): unknown {
  const text = readModelText(folder, file, MAX_JSON_BYTES);
  if (text === undefined) {
    if (!required) return undefined;
    throw new ModelFolderError(`${file} is not in ${folder}: give a Hugging Face model folder`);
  }
  return parseModelJson(file, text);
}

export function readTokenizerJson(folder: string): unknown {
  const text = readModelText(folder, 'tokenizer.json');
  if (text !== undefined) return parseModelJson('tokenizer.json', text);
  throw new ModelFolderError(
    `tokenizer.json is not in ${folder}: tokenizer.model alone is not read; transformers writes it, by AutoTokenizer's save_pretrained`,
  );
}

export function parseModelJson(file: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ModelFolderError(`${file} is not JSON: it is damaged, download it again`, { cause: error });
  }
}

/** Folders that files of this one may really lie in; null when it is not there. */
function homesOf(folder: string): readonly string[] | null {
  const real = realPath(folder);
  if (real === null) return null;
  const [repository, snapshots] = real.split(sep).slice(-3);
  const cached = snapshots === 'snapshots' && repository?.startsWith('models--') === true;
  return cached ? [real, join(real, '..', '..', 'blobs')] : [real];
}

function realPath(path: string): string | null {
  try {
    return realpathSync(path);
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return null;
    throw new ModelFolderError(`${path} is not readable`, { cause: error });
  }
}

/** How many names in these folders stand for this very file. */
function namesOf({ dev, ino }: Stats, homes: readonly string[]): number {
  let names = 0;
  for (const home of homes) {
    for (const name of readdirSync(home)) {
      const stats = lstatSync(join(home, name), { throwIfNoEntry: false });
      if (stats?.ino === ino && stats.dev === dev) names++;
    }
  }
  return names;
}
