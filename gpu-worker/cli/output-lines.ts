/** The output of `millrace generate`: one JSON line for each request, appended as it ends; what a file has already. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import * as v from 'valibot';
import { errorBody, type MillraceError } from '../../shared/errors.ts';
import type { LLMResult } from '../llm.ts';
import { snakeCase } from '../spelling.ts';
import type { GenerateConfig } from './generate-config.ts';
import { asJsonSpells, type ItemHead } from './input-lines.ts';
import { linesOf } from './lines.ts';
import { ConfigError } from './settings.ts';

export function resultLine({ index, echo }: ItemHead, result: Extract<LLMResult, { type: 'done' }>): string {
  const outputs = result.outputs.map(({ index: choice, text, reasoning, logprobs, finishReason }) => ({
    index: choice,
    text,
    ...(reasoning === null ? {} : { reasoning }),
    ...(logprobs === null ? {} : { logprobs }),
    finish_reason: finishReason,
  }));
  const [usage, timings] = [inJson(result.usage), inJson(result.timings)];
  return `${JSON.stringify({ index, ...echo, outputs, usage, timings })}\n`;
}

export function errorLine({ index, line, echo }: ItemHead, error: MillraceError): string {
  return `${JSON.stringify({ index, ...echo, line, ...errorBody(asJsonSpells(error, echo)) })}\n`;
}

function inJson(figures: Readonly<Record<string, number>>): object {
  return Object.fromEntries(
    Object.entries(figures).map(([name, value]) => [snakeCase(name), Math.round(value * 1000) / 1000]),
  );
}

/** Requests of a file by index, each with a hash of what it was asked. */
export type Done = ReadonlyMap<number, number>;

const lineSchema = v.looseObject({
  index: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  id: v.optional(v.unknown()),
  custom_id: v.optional(v.unknown()),
  prompt: v.optional(v.unknown()),
  messages: v.optional(v.unknown()),
});

/** Equal for a request and the line that answers it. */
export function echoHash({ id, custom_id, prompt, messages }: ItemHead['echo']): number {
  const text = JSON.stringify({ id, custom_id, prompt, messages });
  return createHash('sha256').update(text).digest().readUIntBE(0, 6);
}

/** Refuses a file that is there, unless told what to do with it. To resume, a last line that was cut off is taken away. */
export async function prepareOutput({ output, existing }: Pick<GenerateConfig, 'output' | 'existing'>): Promise<Done> {
  if (output === null) return new Map();
  if (!existsSync(dirname(output))) throw new ConfigError(`--output is "${output}": there is no such folder`);
  if (!existsSync(output)) return new Map();
  if (existing === 'refuse') {
    throw new ConfigError(`--output is "${output}": it exists already; give --overwrite or --resume`);
  }
  if (existing === 'overwrite') return new Map();
  await cutPartialLine(output);
  return readDone(output);
}

async function readDone(file: string): Promise<Done> {
  const done = new Map<number, number>();
  for await (const { line, text } of linesOf(file)) {
    const parsed = v.safeParse(lineSchema, parseJson(text));
    if (!parsed.success) {
      throw new ConfigError(`${file}:${line} is not a result of millrace generate, so --resume cannot continue it`);
    }
    done.set(parsed.output.index, echoHash(parsed.output));
  }
  return done;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

const CHUNK_BYTES = 64 * 1024;

async function cutPartialLine(file: string): Promise<void> {
  const handle = await open(file, 'r+');
  try {
    let { size: end } = await handle.stat();
    for (const chunk = Buffer.alloc(CHUNK_BYTES); end > 0;) {
      const from = Math.max(0, end - CHUNK_BYTES);
      await handle.read(chunk, 0, end - from, from);
      const at = chunk.subarray(0, end - from).lastIndexOf('\n');
      end = at < 0 ? from : from + at + 1;
      if (at >= 0) break;
    }
    await handle.truncate(end);
  } finally {
    await handle.close();
  }
}

/** Where lines go. Writes do not overlap: each waits for the one before. */
export class OutputLines {
  readonly #file: FileHandle | null;
  #last: Promise<unknown> = Promise.resolve();

  static async open({ output, existing }: Pick<GenerateConfig, 'output' | 'existing'>): Promise<OutputLines> {
    if (output === null) return new OutputLines(null);
    try {
      return new OutputLines(await open(output, existing === 'resume' ? 'a' : existing === 'overwrite' ? 'w' : 'wx'));
    } catch (error) {
      throw new ConfigError(`--output is "${output}": ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  private constructor(file: FileHandle | null) {
    this.#file = file;
    // The write that meets a closed pipe reports it.
    if (file === null) process.stdout.on('error', () => {});
  }

  write(line: string): Promise<void> {
    const written = this.#last.then(() => (this.#file === null ? toStdout(line) : this.#file.appendFile(line)));
    this.#last = written.catch(() => {});
    return written;
  }

  async close(): Promise<void> {
    await this.#last;
    await this.#file?.close();
  }
}

function toStdout(line: string): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(line, (error) => {
      if (error === null || error === undefined) resolve();
      else reject(new Error(`Standard output took no more results: ${error.message}`));
    });
  });
}
