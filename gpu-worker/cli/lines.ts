/** Lines of a JSON Lines file, one at a time. A line ends at \n alone: JSON texts may have U+2028, which other readers split at. */
import { createReadStream } from 'node:fs';
import { ConfigError } from './settings.ts';

export interface Line {
  /** From 1. */
  readonly line: number;
  /** Without its end, \n or \r\n. */
  readonly text: string;
}

export interface LinesOptions {
  /** Of the file, from its start; by default all of it. */
  readonly bytes?: number;
  readonly maxLineBytes?: number;
}

/** What is held at once: half of what a text may have here. */
const MAX_LINE_BYTES = 256 * 2 ** 20;
const NEWLINE = 0x0a;
const RETURN = 0x0d;

/** Throws a ConfigError when a line is too long to be read. */
export async function* linesOf(
  file: string,
  { bytes = Infinity, maxLineBytes = MAX_LINE_BYTES }: LinesOptions = {},
): AsyncGenerator<Line, void, undefined> {
  if (bytes === 0) return;
  let line = 1;
  let held: Buffer[] = [];
  let heldBytes = 0;
  const hold = (part: Buffer): void => {
    held.push(part);
    heldBytes += part.length;
    if (heldBytes <= maxLineBytes) return;
    throw new ConfigError(
      `${file}:${line} is longer than ${maxLineBytes} bytes: the file must be JSON Lines, one value a line`,
    );
  };
  const take = (): Line => {
    const text = textOf(held, heldBytes);
    [held, heldBytes] = [[], 0];
    return { line: line++, text };
  };
  for await (const chunk of createReadStream(file, { end: bytes - 1 }) as AsyncIterable<Buffer>) {
    let from = 0;
    for (let at = chunk.indexOf(NEWLINE); at >= 0; at = chunk.indexOf(NEWLINE, from)) {
      hold(chunk.subarray(from, at));
      yield take();
      from = at + 1;
    }
    if (from < chunk.length) hold(chunk.subarray(from));
  }
  if (heldBytes > 0) yield take();
}

function textOf(parts: readonly Buffer[], bytes: number): string {
  const whole = parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts, bytes);
  return whole.toString('utf8', 0, whole.at(-1) === RETURN ? bytes - 1 : bytes);
}
