/** The short name that a reference gives a line, and its hash. Knows no conversation. */
import { CodeBuffer } from './codes.ts';

/** Shorter lines cannot be told from others. */
const MIN_QUOTED_CHARS = 16;
const [HEAD, TAIL] = [36, 24];
const BETWEEN = ' … ';
const MIXER = 0x9e3779b1;
/** The tail and what stands before it, more than a short line has. */
const READ_TAIL = TAIL + 4;
export const NO_QUOTE = 0;

/** Those that `trim` trims. */
const SPACES = new Uint8Array(0x10000);
SPACES.fill(1, 0x09, 0x0e);
SPACES.fill(1, 0x2000, 0x200b);
for (const code of [0x20, 0xa0, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000, 0xfeff]) SPACES[code] = 1;

/** A short line whole, else its begin and its end; null: too short. */
export function quoteOf(line: string): string | null {
  if (line.length < MIN_QUOTED_CHARS) return null;
  if (line.length <= HEAD + TAIL) return line;
  // No surrogate pair is cut.
  const head = isHighSurrogate(line.charCodeAt(HEAD - 1)) ? HEAD - 1 : HEAD;
  const from = line.length - TAIL;
  const tail = isHighSurrogate(line.charCodeAt(from - 1)) ? from + 1 : from;
  return `${line.slice(0, head).trimEnd()}${BETWEEN}${line.slice(tail).trimStart()}`;
}

/** Of the quote of the line from `start` to `end`; NO_QUOTE where it has none. Equal quotes have equal hashes. */
export function quoteHash(codes: Uint16Array, start: number, end: number): number {
  if (end - start < MIN_QUOTED_CHARS) return NO_QUOTE;
  const isShort = end - start <= HEAD + TAIL;
  let head = isShort ? end : start + HEAD;
  if (!isShort) {
    if (isHighSurrogate(codes[head - 1] ?? 0)) head--;
    while (head > start && SPACES[codes[head - 1] ?? 0] === 1) head--;
  }
  const hash = fold(codes, start, head);
  if (isShort) return hash || 1;
  let tail = end - TAIL;
  if (isHighSurrogate(codes[tail - 1] ?? 0)) tail++;
  while (tail < end && SPACES[codes[tail] ?? 0] === 1) tail++;
  const length = head - start + BETWEEN.length + end - tail;
  if (length > HEAD + TAIL) return Math.imul(hash, MIXER) ^ fold(codes, tail, end) || 1;
  // A short line may have the same.
  scratch.set(codes.subarray(start, head));
  for (let i = 0; i < BETWEEN.length; i++) scratch[head - start + i] = BETWEEN.charCodeAt(i);
  scratch.set(codes.subarray(tail, end), length - (end - tail));
  return fold(scratch, 0, length) || 1;
}

const scratch = new Uint16Array(HEAD + TAIL);

/** Four at a time: a chain of single multiplications is slow. */
function fold(codes: Uint16Array, start: number, end: number): number {
  let hash = end - start;
  let i = start;
  for (; i + 3 < end; i += 4) {
    const first = Math.imul(codes[i] ?? 0, 29791) + Math.imul(codes[i + 1] ?? 0, 961);
    hash = (Math.imul(hash, 923521) + first + Math.imul(codes[i + 2] ?? 0, 31) + (codes[i + 3] ?? 0)) | 0;
  }
  for (; i < end; i++) hash = (Math.imul(hash, 31) + (codes[i] ?? 0)) | 0;
  return hash;
}

const buffer = new CodeBuffer();

export function quoteHashOf(line: string): number {
  // All that the hash reads, of a long line.
  const short = line.length <= HEAD + READ_TAIL ? line : line.slice(0, HEAD) + line.slice(line.length - READ_TAIL);
  return quoteHash(buffer.load(short), 0, short.length);
}

function isHighSurrogate(code: number): boolean {
  return code >= 0xd800 && code <= 0xdbff;
}
