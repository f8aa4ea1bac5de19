/** What an output file of `millrace generate` has already. Reading changes nothing; `mendOutput` readies it to go on. */
import { createHash } from 'node:crypto';
import { existsSync, statSync } from 'node:fs';
import { open, truncate } from 'node:fs/promises';
import { dirname } from 'node:path';
import * as v from 'valibot';
import type { GenerateConfig } from './generate-config.ts';
import type { ItemHead } from './input-lines.ts';
import { linesOf } from './lines.ts';
import { ConfigError } from './settings.ts';

/** Requests of a file by index, each with a hash of what it was asked. */
export type Done = ReadonlyMap<number, number>;

export interface EarlierResults {
  readonly done: Done;
  /** Of the file, and of its whole lines: a last one that was cut off comes after them. */
  readonly size: number;
  readonly wholeBytes: number;
}

const NOTHING: EarlierResults = { done: new Map(), size: 0, wholeBytes: 0 };

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
/** How every line begins. */
const LINE_START = '{"index":';

/** Equal for a request and the line that answers it. */
export function echoHash({ id, custom_id, prompt, messages }: ItemHead['echo']): number {
  const text = JSON.stringify({ id, custom_id, prompt, messages });
  return createHash('sha256').update(text).digest().readUIntBE(0, 6);
}

type Files = Pick<GenerateConfig, 'input' | 'output' | 'existing'>;

/** Refuses a file that is there, unless told what to do with it. */
export async function readEarlier({ input, output, existing }: Files): Promise<EarlierResults> {
  if (output === null) return NOTHING;
  const unusable = (problem: string) => new ConfigError(`--output is "${output}": ${problem}`);
  if (!existsSync(dirname(output))) throw unusable('there is no such folder');
  if (!existsSync(output)) return NOTHING;
  if ('file' in input && isSameFile(input.file, output)) throw unusable('it is the input; give another file');
  if (existing === 'refuse') throw unusable('it exists already; give --overwrite or --resume');
  if (existing === 'overwrite') return NOTHING;
  if (!statSync(output).isFile()) throw unusable('it must be a file to --resume');
  return readResults(output);
}

function isSameFile(a: string, b: string): boolean {
  const [one, other] = [statSync(a, { bigint: true }), statSync(b, { bigint: true })];
  return one.dev === other.dev && one.ino === other.ino;
}

async function readResults(file: string): Promise<EarlierResults> {
  const notOurs = (line: number) =>
    new ConfigError(`${file}:${line} is not a result of millrace generate, so --resume cannot continue it`);
  const { size, wholeBytes, rest } = await ending(file);
  const done = new Map<number, number>();
  let lines = 0;
  for await (const { line, text } of linesOf(file, { bytes: wholeBytes })) {
    lines = line;
    const parsed = v.safeParse(lineSchema, parseJson(text));
    if (!parsed.success) throw notOurs(line);
    done.set(parsed.output.index, echoHash(parsed.output));
  }
  if (!LINE_START.startsWith(rest)) throw notOurs(lines + 1);
  return { done, size, wholeBytes };
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
async function ending(file: string): Promise<Omit<EarlierResults, 'done'> & { readonly rest: string }> {
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

/** Takes away a last line that was cut off. */
export async function mendOutput(file: string, { size, wholeBytes }: EarlierResults): Promise<void> {
  if (size === 0) return;
  if (statSync(file).size !== size) throw new ConfigError(`--output is "${file}": it has changed since it was read`);
  if (wholeBytes < size) await truncate(file, wholeBytes);
}
