/** One line of prose → its protected spans: inline code, quotes, URLs, identifiers, numbers with units, negations. Knows no units of text. */
import {
  BLANK,
  DIGIT,
  ENDING,
  foldHash,
  HANGUL,
  hashOf,
  IDEOGRAPH,
  isLetter,
  JOINT,
  kindAt,
  kindOf,
  LOWER,
  OTHER,
  STEM_CHARS,
  UPPER,
} from './characters.ts';
import { MEASURES, NEGATIONS, NEGATIVE_PARTS, NUMBER_WORDS, WordFilter } from './words.ts';

export type ProseKind = 'inline code' | 'quote' | 'url' | 'identifier' | 'number' | 'negation';

/** Offsets in the line. */
export interface ProseSpan {
  readonly kind: ProseKind;
  readonly start: number;
  readonly end: number;
}

/** Where words begin in their line, and the hashes of their first STEM_CHARS. */
export interface Words {
  readonly starts: number[];
  readonly stems: number[];
}

const CLOSERS: Readonly<Record<string, string>> = {
  ...{ '"': '"', '“': '”', '„': '“', '«': '»', '‹': '›', '「': '」', '『': '』', '‘': '’', '”': '”', '»': '«' },
};
/** Formulas and code outside any mark. */
const SYMBOLS = '=<>{}|\\^~';
/** Characters that may begin a span, beside digits and letters. */
const OPENERS = new Uint8Array(0x10000);
for (const opener of ['`', "'", ...SYMBOLS, ...Object.keys(CLOSERS)]) OPENERS[opener.charCodeAt(0)] = 1;
const SIGNS = '+-−±≈≤≥$€£¥#';
const LISTED = new WordFilter([NEGATIONS, NUMBER_WORDS]);
const IDENTIFIER_MIN_CHARS = 5;

/** Code units of the line that is read now and a zero: strings are slow to read one by one. */
let codes = new Uint16Array(4096);
let bytes = new Uint8Array(4096);
const encoder = new TextEncoder();
/** Shorter lines are sooner read than encoded. */
const MIN_ENCODED_CHARS = 48;

/** Into `bytes`: all of it, in as many bytes as units. */
function isEncodedAsIs(line: string): boolean {
  const { read, written } = encoder.encodeInto(line, bytes);
  return read === line.length && written === read;
}

function load(line: string): Uint16Array {
  const { length } = line;
  if (length >= codes.length) [codes, bytes] = [new Uint16Array(2 * length), new Uint8Array(2 * length)];
  const loaded = codes;
  if (length >= MIN_ENCODED_CHARS && isEncodedAsIs(line)) {
    loaded.set(bytes.subarray(0, length));
  } else {
    for (let i = 0; i < length; i++) loaded[i] = line.charCodeAt(i);
  }
  loaded[length] = 0;
  return loaded;
}

/**
 * In order, none within another. A quote or a backtick that is never closed protects the rest of the line. `words` gets
 * each word outside quotes, URLs and code.
 */
export function proseSpans(line: string, words: Words = { starts: [], stems: [] }): readonly ProseSpan[] {
  const spans: ProseSpan[] = [];
  const loaded = load(line);
  let noSingleClose = false;
  for (let at = 0; at < line.length;) {
    const code = loaded[at] ?? 0;
    const kind = kindOf(code);
    if (kind === BLANK || ((kind === OTHER || kind === ENDING || kind === JOINT) && OPENERS[code] === 0)) {
      at++;
      continue;
    }
    const plainEnd = plainWordEnd(loaded, at, words);
    if (plainEnd !== null) {
      at = plainEnd;
      continue;
    }
    let span: ProseSpan | null;
    if (kind === DIGIT) span = numberAt(line, at, spans.at(-1)?.end ?? 0);
    else if (kind === IDEOGRAPH && CLOSERS[line[at] ?? ''] === undefined) {
      words.starts.push(at);
      words.stems.push(foldHash(0, line.charCodeAt(at)));
      span = negativePartAt(line, at);
    } else if (isLetter(kind)) {
      const word = wordAt(line, at);
      if (word.kind !== null) spans.push(spanOf(word.kind, at, word.end));
      if (word.kind !== 'url') {
        words.starts.push(at);
        words.stems.push(hashOf(line.slice(at, Math.min(word.end, at + STEM_CHARS))));
      }
      at = word.end;
      continue;
    } else if (line[at] === '`') span = inlineCodeAt(line, at);
    else if (line[at] === "'") {
      span = noSingleClose ? null : singleQuoteAt(line, at);
      noSingleClose ||= span === null;
    } else span = markedAt(line, at);
    if (span !== null) spans.push(span);
    at = span?.end ?? at + 1;
  }
  return spans;
}

function spanOf(kind: ProseKind, start: number, end: number): ProseSpan {
  return { kind, start, end };
}

/** One past a word of letters that needs no second look: nearly all are such. null: it does, or it is no word. */
function plainWordEnd(loaded: Uint16Array, at: number, { starts, stems }: Words): number | null {
  let end = at;
  let hash = 0;
  let stem = 0;
  let before: number = UPPER;
  // The zero after the line ends its last word.
  for (; ; end++) {
    const code = loaded[end] ?? 0;
    const kind = kindOf(code);
    if (kind !== LOWER && (kind !== UPPER || before !== UPPER)) {
      const isOver = kind === BLANK || kind === OTHER || (kind === ENDING && !isLetter(kindOf(loaded[end + 1] ?? 0)));
      if (!isOver) return null;
      break;
    }
    before = kind;
    hash = foldHash(hash, code);
    if (end - at < STEM_CHARS) stem = hash;
  }
  if (end === at || LISTED.mayHold(hash)) return null;
  starts.push(at);
  stems.push(stem);
  return end;
}

function negativePartAt(line: string, at: number): ProseSpan | null {
  NEGATIVE_PARTS.lastIndex = at;
  return NEGATIVE_PARTS.test(line) ? spanOf('negation', at, NEGATIVE_PARTS.lastIndex) : null;
}

function markedAt(line: string, at: number): ProseSpan | null {
  const mark = line[at] ?? '';
  if (SYMBOLS.includes(mark)) return spanOf('identifier', at, at + 1);
  const closer = CLOSERS[mark];
  if (closer === undefined) return null;
  const close = line.indexOf(closer, at + 1);
  return spanOf('quote', at, close < 0 ? line.length : close + 1);
}

/** `'so'`: closed by a mark that follows no blank and precedes no letter. */
function singleQuoteAt(line: string, at: number): ProseSpan | null {
  for (let close = line.indexOf("'", at + 1); close >= 0; close = line.indexOf("'", close + 1)) {
    if (line[close - 1] !== ' ' && !isLetter(kindAt(line, close + 1))) return spanOf('quote', at, close + 1);
  }
  return null;
}

/** From a run of backticks to the next run of as many. */
function inlineCodeAt(line: string, at: number): ProseSpan {
  let open = at;
  while (line[open] === '`') open++;
  for (let close = line.indexOf('`', open); close >= 0; close = line.indexOf('`', close)) {
    const from = close;
    while (line[close] === '`') close++;
    if (close - from === open - at) return spanOf('inline code', at, close);
  }
  return spanOf('inline code', at, line.length);
}

/** Digits with what is glued to them, a sign before and a unit after: `-3.5 kg`, `2026-01-02`, `5th`, `10:30 am`. */
function numberAt(line: string, at: number, after: number): ProseSpan {
  const start = at > after && SIGNS.includes(line[at - 1] ?? ' ') ? at - 1 : at;
  let end = at;
  for (; end < line.length; end++) {
    const kind = kindAt(line, end);
    if (kind === DIGIT || isLetter(kind)) continue;
    if (!".,:/-–×'’".includes(line[end] ?? ' ') || kindAt(line, end + 1) !== DIGIT) break;
  }
  while (end < line.length && '%‰°′″"\'€$£¥'.includes(line[end] ?? ' ')) end++;
  return spanOf('number', start, measureEnd(line, end));
}

/** `end`, or the end of a unit that follows after at most one blank. */
function measureEnd(line: string, end: number): number {
  const from = [' ', '\u{a0}', '-'].includes(line[end] ?? '') ? end + 1 : end;
  let to = from;
  while (to < from + 12 && (isLetter(kindAt(line, to)) || '°%µ/'.includes(line[to] ?? ' '))) to++;
  return to > from && MEASURES.has(line.slice(from, to).toLowerCase()) ? to : end;
}

/** A word from `at` on, joined by marks between letters, and what it is protected as. */
function wordAt(line: string, at: number): { readonly end: number; readonly kind: ProseKind | null } {
  let end = at;
  let before = 0;
  let kind: ProseKind | null = null;
  for (; end < line.length; end++) {
    const now = kindAt(line, end);
    if (now === DIGIT) kind = 'number';
    else if (now === HANGUL && negativePartAt(line, end) !== null) kind = 'negation';
    else if (!isLetter(now)) {
      const mark = line[end] ?? '';
      if (mark === ':' && line.startsWith('://', end)) return { end: urlEnd(line, end), kind: 'url' };
      if ((now !== JOINT && mark !== '.') || !isLetter(kindAt(line, end + 1))) break;
      if (!"'’:".includes(mark)) kind ??= 'identifier';
    } else if (now === UPPER && before === LOWER) kind ??= 'identifier';
    before = now;
  }
  const word = line
    .slice(at, Math.min(end, at + 32))
    .toLowerCase()
    .replaceAll('’', "'");
  if (word.startsWith('www.')) return { end: urlEnd(line, end), kind: 'url' };
  if (kind === 'identifier' && end - at < IDENTIFIER_MIN_CHARS) kind = null;
  if (NUMBER_WORDS.has(word)) kind ??= 'number';
  if (NEGATIONS.has(word) || word.endsWith("n't") || word.startsWith("n'")) kind ??= 'negation';
  return { end, kind };
}

function urlEnd(line: string, from: number): number {
  let end = from;
  while (end < line.length && !' \t<>"`\u{a0}'.includes(line[end] ?? ' ')) end++;
  return end;
}
