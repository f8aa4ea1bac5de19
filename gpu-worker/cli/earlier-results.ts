/** What an output file of `millrace generate` has already. Reading changes nothing; `mendOutput` readies it to go on. */
import { createHash } from 'node:crypto';
import { createWriteStream, existsSync, statSync } from 'node:fs';
import { open, realpath, rename, rm, truncate } from 'node:fs/promises';
import { dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';
import * as v from 'valibot';
import { ERRORS, isErrorCode } from '../../shared/errors.ts';
import type { GenerateConfig } from './generate-config.ts';
import type { ItemHead } from './input-lines.ts';
import { linesOf } from './lines.ts';
import { ConfigError } from './settings.ts';

export interface EarlierResults {
  /** Requests by index, each with a hash of what it was asked. */
  readonly hashes: ReadonlyMap<number, number>;
  /** Those of them that failed through no fault of theirs: they run again. */
  readonly failed: ReadonlySet<number>;
  /** Of the file, and of its whole lines: a last one that was cut off comes after them. */
  readonly size: number;
  readonly wholeBytes: number;
}

const NOTHING: EarlierResults = { hashes: new Map(), failed: new Set(), size: 0, wholeBytes: 0 };

const lineSchema = v.pipe(
  v.looseObject({
    index: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
    id: v.optional(v.unknown()),
    custom_id: v.optional(v.unknown()),
    prompt: v.optional(v.unknown()),
    messages: v.optional(v.unknown()),
    outputs: v.optional(v.array(v.unknown())),
    error: v.optional(v.looseObject({ code: v.string() })),
  }),
  v.check(({ outputs, error }) => (outputs === undefined) !== (error === undefined)),
);
type ResultLine = v.InferOutput<typeof lineSchema>;

/** How every line begins. */
const LINE_START = '{"index":';

/** Equal for a request and the line that answers it. */
export function echoHash({ id, custom_id, prompt, messages }: ItemHead['echo']): number {
  const text = JSON.stringify({ id, custom_id, prompt, messages });
  return createHash('sha256').update(text).digest().readUIntBE(0, 6);
}

/** It has a result, or an error that it would get again. */
export function isDone({ hashes, failed }: EarlierResults, index: number): boolean {
  return hashes.has(index) && !failed.has(index);
}

type Files = Pick<GenerateConfig, 'input' | 'output' | 'existing'>;

/** Refuses a file that is there, unless told what to do with it. */
export async function readEarlier({ input, output, existing }: Files): Promise<EarlierResults> {
  if (output === null) return NOTHING;
  const unusable = (problem: string) => new ConfigError(`--output is "${output}": ${problem}`);
  if (!existsSync(dirname(output))) throw unusable('there is no such folder');
  const stats = statSync(output, { throwIfNoEntry: false });
  if (stats === undefined) return NOTHING;
  if (stats.isDirectory()) throw unusable('it is a folder');
  if ('file' in input && isSameFile(input.file, output)) throw unusable('it is the input; give another file');
  if (existing === 'refuse') throw unusable('it exists already; give --overwrite or --resume');
  if (existing === 'overwrite') return NOTHING;
  if (!stats.isFile()) throw unusable('it must be a file to --resume');
  return readResults(output);
}

function isSameFile(a: string, b: string): boolean {
  const [one, other] = [statSync(a, { bigint: true }), statSync(b, { bigint: true })];
  return one.dev === other.dev && one.ino === other.ino;
}

async function readResults(file: string): Promise<EarlierResults> {
  const notOurs = (line: number) =>
    new ConfigError(
      `${file}:${line} is not a result of millrace generate, so --resume cannot continue it: ` +
        'take that line out, or give another --output',
    );
  const { size, wholeBytes, rest } = await ending(file);
  const hashes = new Map<number, number>();
  const failed = new Set<number>();
  let lines = 0;
  for await (const { line, text } of linesOf(file, { bytes: wholeBytes })) {
    lines = line;
    const result = parseLine(text);
    if (result === null) throw notOurs(line);
    if (hasFailed(result)) failed.add(result.index);
    hashes.set(result.index, echoHash(result));
  }
  if (!LINE_START.startsWith(rest)) throw notOurs(lines + 1);
  return { hashes, failed, size, wholeBytes };
}

/** Null: it is no result. */
function parseLine(text: string): ResultLine | null {
  const parsed = v.safeParse(lineSchema, parseJson(text));
  return parsed.success ? parsed.output : null;
}

function hasFailed({ error }: Pick<ResultLine, 'error'>): boolean {
  return error !== undefined && isErrorCode(error.code) && ERRORS[error.code].blame === 'system';
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

const CHUNK_BYTES = 64 * 1024;

/** Where the whole lines of a file end, and how what follows begins. */
async function ending(file: string): Promise<Pick<EarlierResults, 'size' | 'wholeBytes'> & { readonly rest: string }> {
  const handle = await open(file);
  try {
    const { size } = await handle.stat();
    const chunk = Buffer.alloc(CHUNK_BYTES);
    let wholeBytes = size;
    while (wholeBytes > 0) {
      const from = Math.max(0, wholeBytes - CHUNK_BYTES);
      await handle.read(chunk, 0, wholeBytes - from, from);
      const at = chunk.subarray(0, wholeBytes - from).lastIndexOf('\n');
      wholeBytes = at < 0 ? from : from + at + 1;
      if (at >= 0) break;
    }
    const { bytesRead } = await handle.read(chunk, 0, LINE_START.length, wholeBytes);
    return { size, wholeBytes, rest: chunk.toString('utf8', 0, bytesRead) };
  } finally {
    await handle.close();
  }
}

/** Takes away a last line that was cut off, and the lines of requests that run again. */
export async function mendOutput(file: string, { failed, size, wholeBytes }: EarlierResults): Promise<void> {
  if (size === 0) return;
  if (statSync(file).size !== size) throw new ConfigError(`--output is "${file}": it has changed since it was read`);
  if (failed.size > 0) await replaceWithout(failed, file, wholeBytes);
  else if (wholeBytes < size) await truncate(file, wholeBytes);
}

/** The file is whole at any moment: the old one, or the new one in its place. */
async function replaceWithout(indexes: ReadonlySet<number>, file: string, bytes: number): Promise<void> {
  const target = await realpath(file);
  const temporary = `${target}.${process.pid}.tmp`;
  async function* kept() {
    for await (const { text } of linesOf(target, { bytes })) {
      const result = parseLine(text);
      if (result !== null && !indexes.has(result.index)) yield `${text}\n`;
    }
  }
  try {
    const { mode } = statSync(target);
    await pipeline(kept, createWriteStream(temporary, { flags: 'wx', mode, flush: true }));
    await rename(temporary, target);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}
