/** Small JSON files of a model folder, with errors that name the file and the fix. Knows no fields. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The folder is missing, incomplete or holds something that we cannot run; the message names the file and the fix. */
export class ModelFolderError extends Error {
  override readonly name = 'ModelFolderError';
}

/** A field of config.json that we cannot serve; `fix` says what is possible. */
export function refusal(field: string, value: unknown, fix: string): ModelFolderError {
  return new ModelFolderError(`config.json: ${field} = ${String(value)} cannot be served; ${fix}`);
}

/** Undefined when a file that is not required is not there. */
export function readJson(folder: string, file: string, required: boolean): unknown {
  let text: string;
  try {
    text = readFileSync(join(folder, file), 'utf8');
  } catch (error) {
    if (!required) return undefined;
    throw new ModelFolderError(`${file} not readable in ${folder}: give a Hugging Face model folder`, { cause: error });
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ModelFolderError(`${join(folder, file)} is not JSON: download it again`, { cause: error });
  }
}
