/** The short name that a reference gives a line, and its hash. Knows no conversation. */
import { CodeBuffer } from './codes.ts';

/** Shorter lines cannot be told from others. */
const MIN_QUOTED_CHARS = 16;
/** Characters of a longer line's begin and end, and how many more there may be so that neither is cut at a blank. */
const [HEAD, TAIL, MORE] = [36, 24, 4];
/** With the other half of a surrogate pair. */
const [MAX_HEAD, MAX_TAIL] = [HEAD + MORE + 1, TAIL + MORE + 1];
const ELLIPSIS = '…';
const BETWEEN = ` ${ELLIPSIS} `;
const MIXER = 0x9e3779b1;
export const NO_QUOTE = 0;

/** Those that `trim` trims. */
const SPACES = new Uint8Array(0x10000);
SPACES.fill(1, 0x09, 0x0e);
SPACES.fill(1, 0x2000, 0x200b);
for (const code of [0x20, 0xa0, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000, 0xfeff]) SPACES[code] = 1;

/**
 * A short line whole, else its begin and its end; null: too short, or with a mark like the one between these. Every long
 * line that begins and ends so has this quote.
 */
export function quoteOf(line: string): string | null {
  if (line.length < MIN_QUOTED_CHARS) return null;
  if (line.length <= HEAD + TAIL) return line.includes(BETWEEN) ? null : line;
  const codes = buffer.load(line);
  const head = line.slice(0, headEnd(codes, 0));
  const quote = `${head}${BETWEEN}${line.slice(tailStart(codes, line.length))}`;
  const isClear = quote.indexOf(BETWEEN) === head.length && quote.lastIndexOf(BETWEEN) === head.length;
  return isClear ? quote : null;
}

/** As `quoteOf(line) !== null`, but soon told of nearly all lines. */
export function hasQuote(line: string): boolean {
  return line.length >= MIN_QUOTED_CHARS && (!line.includes(ELLIPSIS) || quoteOf(line) !== null);
}

/** Of the quote of the line from `start` to `end`; NO_QUOTE where it has none. Equal quotes have equal hashes. */
export function quoteHash(codes: Uint16Array, start: number, end: number): number {
  const length = end - start;
  if (length < MIN_QUOTED_CHARS) return NO_QUOTE;
  if (length <= HEAD + TAIL) return fold(codes, start, end) || 1;
  return Math.imul(fold(codes, start, headEnd(codes, start)), MIXER) ^ fold(codes, tailStart(codes, end), end) || 1;
}

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
  const short =
    line.length <= MAX_HEAD + MAX_TAIL ? line : line.slice(0, MAX_HEAD) + line.slice(line.length - MAX_TAIL);
  return quoteHash(buffer.load(short), 0, short.length);
}

/** Of a long line from `start` on. All lines that begin with this begin with no more. */
function headEnd(codes: Uint16Array, start: number): number {
  let end = start + HEAD;
  while (end < start + HEAD + MORE && SPACES[codes[end - 1] ?? 0] === 1) end++;
  return isHalfPair(codes[end - 1] ?? 0, 0xd800) ? end + 1 : end;
}

/** As `headEnd`, of a long line that ends at `end`. */
function tailStart(codes: Uint16Array, end: number): number {
  let start = end - TAIL;
  while (start > end - TAIL - MORE && SPACES[codes[start] ?? 0] === 1) start--;
  return isHalfPair(codes[start] ?? 0, 0xdc00) ? start - 1 : start;
}

/** Of surrogates: the first half is from 0xd800 on, the second one from 0xdc00 on. */
function isHalfPair(code: number, from: number): boolean {
  return code >= from && code < from + 0x400;
}
