/** Fenced code as CommonMark has it (0.31, section 4.5): where it begins and ends, within lists and quotes too. Knows no units. */
import type { Line } from './code-lines.ts';

export interface Fence {
  /** Its backticks or tildes, where they begin, and what follows them. */
  readonly marker: string;
  readonly at: number;
  readonly info: string;
  /** It ends where a line does not begin with `>`. */
  readonly isQuoted: boolean;
}

const MIN_MARKS = 3;
const MAX_DIGITS = 9;
/** In a list, words after a fence make a sentence about fences: so much may follow one. */
const LIST_INFO = /^\s*\S*$|[={]/;
const [TAB, SPACE, BACKTICK, TILDE, QUOTE, ZERO, NINE] = [0x09, 0x20, 0x60, 0x7e, 0x3e, 0x30, 0x39];
const BULLETS = [...'-*+'].map((bullet) => bullet.charCodeAt(0));
const NUMBER_ENDS = [...'.)'].map((end) => end.charCodeAt(0));
/** Of a line with a fence: 1 by its first character's code. */
const FIRST = new Uint8Array(0x80);
for (const first of '`~>-*+0123456789') FIRST[first.charCodeAt(0)] = 1;

/** That the line opens, after list marks and `>` if there are any. */
export function openingFence(text: string, codes: Uint16Array, { first, last }: Line): Fence | null {
  if (FIRST[codes[first] ?? 0] !== 1) return null;
  const at = pastMarks(codes, first);
  const end = markerEnd(codes, at);
  if (end === null) return null;
  const info = text.slice(end, last);
  if (codes[at] === BACKTICK && info.includes('`')) return null;
  const isQuoted = at > first && text.slice(first, at).includes('>');
  if (at > first && !isQuoted && !LIST_INFO.test(info)) return null;
  return { marker: text.slice(at, end), at, info, isQuoted };
}

/** The line, whose first character that is no blank is at `first`, is nothing but a fence that closes this one. */
export function closes({ marker, isQuoted }: Fence, codes: Uint16Array, { first, last }: Line): boolean {
  const at = isQuoted ? pastQuotes(codes, first) : first;
  return codes[at] === marker.charCodeAt(0) && last - at >= marker.length && markerEnd(codes, at) === last;
}

/** Of three or more backticks or tildes. */
function markerEnd(codes: Uint16Array, at: number): number | null {
  const code = codes[at];
  if (code !== BACKTICK && code !== TILDE) return null;
  let end = at;
  while (codes[end] === code) end++;
  return end - at >= MIN_MARKS ? end : null;
}

/** One past list marks, numbers and `>` from `from` on, and the blanks after each. */
function pastMarks(codes: Uint16Array, from: number): number {
  for (let at = from; ;) {
    const end = markEnd(codes, at);
    if (end === at) return at;
    at = pastBlanks(codes, end);
  }
}

/** One past the mark at `at`; `at` if there is none. */
function markEnd(codes: Uint16Array, at: number): number {
  const code = codes[at] ?? 0;
  if (code === QUOTE) return at + 1;
  let end = at;
  if (BULLETS.includes(code)) end++;
  else {
    while (end < at + MAX_DIGITS && (codes[end] ?? 0) >= ZERO && (codes[end] ?? 0) <= NINE) end++;
    if (end === at || !NUMBER_ENDS.includes(codes[end] ?? 0)) return at;
    end++;
  }
  return codes[end] === SPACE || codes[end] === TAB ? end : at;
}

function pastQuotes(codes: Uint16Array, from: number): number {
  let at = from;
  while (codes[at] === QUOTE) at = pastBlanks(codes, at + 1);
  return at;
}

function pastBlanks(codes: Uint16Array, from: number): number {
  let at = from;
  while (codes[at] === SPACE || codes[at] === TAB) at++;
  return at;
}

export function isQuote(code: number | undefined): boolean {
  return code === QUOTE;
}
