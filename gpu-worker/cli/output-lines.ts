/** The output of `millrace generate`: one JSON line for each request, appended as it ends. */
import { open, type FileHandle } from 'node:fs/promises';
import { errorBody, type MillraceError } from '../../shared/errors.ts';
import type { LLMResult } from '../llm.ts';
import { snakeCase } from '../spelling.ts';
import { mendOutput, type EarlierResults } from './earlier-results.ts';
import type { GenerateConfig } from './generate-config.ts';
import type { ItemHead } from './input-lines.ts';
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
  return `${JSON.stringify({ index, ...echo, line, ...errorBody(error) })}\n`;
}

function inJson(figures: Readonly<Record<string, number>>): object {
  return Object.fromEntries(
    Object.entries(figures).map(([name, value]) => [snakeCase(name), Math.round(value * 1000) / 1000]),
  );
}

type OutputConfig = Pick<GenerateConfig, 'output' | 'existing'>;

/** Where lines go. Writes do not overlap, and after one that failed there are no more: only a last line is ever cut off. */
export class OutputLines {
  readonly #file: FileHandle | null;
  #last: Promise<unknown> = Promise.resolve();

  static async open({ output, existing }: OutputConfig, earlier: EarlierResults): Promise<OutputLines> {
    if (output === null) return new OutputLines(null);
    await mendOutput(output, earlier);
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
    const written = this.#last.then(() => (this.#file === null ? toStdout(line) : toFile(this.#file, line)));
    written.catch(() => {});
    this.#last = written;
    return written;
  }

  async close(): Promise<void> {
    await this.#last.catch(() => {});
    await this.#file?.close();
  }
}

async function toFile(file: FileHandle, line: string): Promise<void> {
  try {
    await file.appendFile(line);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`The output file took no more results: ${reason}; --resume runs the rest`, { cause });
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
