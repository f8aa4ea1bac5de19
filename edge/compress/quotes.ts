/** The short name that a reference gives a line, and its hash. Knows no conversation. */

/** Shorter lines cannot be told from others. */
const MIN_QUOTED_CHARS = 16;
const [HEAD, TAIL] = [36, 24];
const BETWEEN = ' … ';
export const NO_QUOTE = 0;

/** Those that `trim` trims. */
const SPACES = new Uint8Array(0x10000);
for (let code = 0; code < SPACES.length; code++) {
  if (String.fromCharCode(code).trim() === '') SPACES[code] = 1;
}

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
  let hash = 0;
  for (let i = start; i < head; i++) hash = (Math.imul(hash, 31) + (codes[i] ?? 0)) | 0;
  if (isShort) return hash || 1;
  for (let i = 0; i < BETWEEN.length; i++) hash = (Math.imul(hash, 31) + BETWEEN.charCodeAt(i)) | 0;
  let tail = end - TAIL;
  if (isHighSurrogate(codes[tail - 1] ?? 0)) tail++;
  while (tail < end && SPACES[codes[tail] ?? 0] === 1) tail++;
  for (let i = tail; i < end; i++) hash = (Math.imul(hash, 31) + (codes[i] ?? 0)) | 0;
  return hash || 1;
}

export function quoteHashOf(line: string): number {
  const quote = quoteOf(line);
  if (quote === null) return NO_QUOTE;
  let hash = 0;
  for (let i = 0; i < quote.length; i++) hash = (Math.imul(hash, 31) + quote.charCodeAt(i)) | 0;
  return hash || 1;
}

function isHighSurrogate(code: number): boolean {
  return code >= 0xd800 && code <= 0xdbff;
}
