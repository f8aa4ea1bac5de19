/** One line of prose → its protected spans: inline code, quotes, URLs, identifiers, numbers with units, negations. Knows no units of text. */
import {
  BLANK,
  DIGIT,
  ENDING,
  foldStem,
  HANGUL,
  IDEOGRAPH,
  isLetter,
  JOINT,
  kindAt,
  kindOf,
  LOWER,
  OTHER,
  STEM_CHARS,
  stemOf,
  tableOf,
  UPPER,
} from './characters.ts';
import { CodeBuffer, type CodedLine } from './codes.ts';
import { Words } from './word-columns.ts';
import {
  ADDRESS_WORDS,
  IMPERATIVES,
  MEASURES,
  NEGATIONS,
  NEGATIVE_PARTS,
  NUMBER_WORDS,
  STOP_WORDS,
  WordNotes,
} from './words.ts';

export type ProseKind = 'inline code' | 'quote' | 'url' | 'identifier' | 'number' | 'negation';

/** Offsets in the line. */
export interface ProseSpan {
  readonly kind: ProseKind;
  readonly start: number;
  readonly end: number;
}

/** What may be said of a word: it is not from ASCII letters alone, or it is perhaps one of these. */
export const [ODD, ADDRESS_NOTE, IMPERATIVE_NOTE] = [1, 2, 4];
const [LISTED, STOP] = [8, 16];
const NOTES = new WordNotes([
  [LISTED, NEGATIONS],
  [LISTED, NUMBER_WORDS],
  [ADDRESS_NOTE, ADDRESS_WORDS],
  [IMPERATIVE_NOTE, IMPERATIVES],
  // Longer ones could be others' stems.
  [STOP, [...STOP_WORDS].filter((word) => word.length < STEM_CHARS)],
]);

const CLOSERS: Readonly<Record<string, string>> = {
  ...{ '"': '"', '“': '”', '„': '“', '«': '»', '‹': '›', '「': '」', '『': '』', '‘': '’', '”': '”', '»': '«' },
};
/** Formulas and code outside any mark. */
const SYMBOLS = '=<>{}|\\^~';
const MARKS = ['`', "'", ...SYMBOLS, ...Object.keys(CLOSERS)].map((mark) => mark.charCodeAt(0));
/** What scanning must know of a character, as bits: SKIPPED ones begin neither a word nor a span. */
const [SKIPPED, CASED, SMALL, OVER, DOTTED, LETTER] = [1, 2, 4, 8, 16, 32];
const SHAPE_OF_KIND = new Uint8Array(16);
for (const [kind, shape] of [
  [OTHER, SKIPPED | OVER],
  [BLANK, SKIPPED | OVER],
  [ENDING, SKIPPED | DOTTED],
  [JOINT, SKIPPED],
  [LOWER, CASED | SMALL | LETTER],
  [UPPER, CASED | LETTER],
  [HANGUL, LETTER],
] as const) {
  SHAPE_OF_KIND[kind] = shape;
}
const SHAPES = tableOf((kind) => SHAPE_OF_KIND[kind] ?? 0);
for (const mark of MARKS) SHAPES[mark] = (SHAPES[mark] ?? 0) & ~SKIPPED;
const SIGNS = '+-−±≈≤≥$€£¥#';
const IDENTIFIER_MIN_CHARS = 5;

/** Here, since the loop below is hot. */
const STEM_LENGTH = STEM_CHARS;
const buffer = new CodeBuffer();
const unread = new Words();

/** In order, none within another. A quote or a backtick that is never closed protects the rest of the line. */
export function proseSpans(line: string): readonly ProseSpan[] {
  unread.size = 0;
  return scanProse({ line, codes: buffer.load(line), base: 0 }, unread);
}

/** As `proseSpans`; `words` gets each word outside quotes, URLs and code. */
export function scanProse({ line, codes, base }: CodedLine, words: Words): readonly ProseSpan[] {
  const spans: ProseSpan[] = [];
  const shapes = SHAPES;
  const { length } = line;
  words.reserve(length);
  let noSingleClose = false;
  for (let at = 0; at < length;) {
    const code = codes[base + at] ?? 0;
    if (((shapes[code] ?? 0) & SKIPPED) !== 0) {
      at++;
      continue;
    }
    const plainEnd = plainWordEnd(codes, base + at, words) - base;
    if (plainEnd > at) {
      words.starts[words.size - 1] = at;
      at = plainEnd;
      continue;
    }
    const kind = kindOf(code);
    let span: ProseSpan | null;
    if (kind === DIGIT) span = numberAt(line, at, spans.at(-1)?.end ?? 0);
    else if (kind === IDEOGRAPH && CLOSERS[line[at] ?? ''] === undefined) {
      words.push(at, foldStem(0, code) || 1, ODD);
      span = negativePartAt(line, at);
    } else if (isLetter(kind)) {
      const word = wordAt(line, at);
      if (word.kind !== null) spans.push(spanOf(word.kind, at, word.end));
      if (word.kind !== 'url') words.push(at, stemUnlessStop(line.slice(at, Math.min(word.end, at + STEM_CHARS))), ODD);
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

function stemUnlessStop(word: string): number {
  const stem = stemOf(word);
  return (NOTES.of(stem) & STOP) === 0 ? stem : 0;
}

/**
 * One past a word that needs no second look, which nearly all are: a letter and others in lower case. Pushes it but for
 * its start. Else `from`.
 */
function plainWordEnd(codes: Uint16Array, from: number, words: Words): number {
  const shapes = SHAPES;
  let at = from;
  let code = codes[at] ?? 0;
  let shape = shapes[code] ?? 0;
  if ((shape & CASED) === 0) return from;
  let stem = 0;
  let all = 0;
  do {
    if (at - from < STEM_LENGTH) stem = (stem << 5) | (code & 0x1f);
    all |= code;
    code = codes[++at] ?? 0;
    shape = shapes[code] ?? 0;
  } while ((shape & SMALL) !== 0);
  if ((shape & OVER) === 0) {
    if ((shape & DOTTED) === 0 || ((shapes[codes[at + 1] ?? 0] ?? 0) & LETTER) !== 0) return from;
  }
  if (all >= 0x80) {
    stem = 0;
    for (let i = from; i < at && i - from < STEM_LENGTH; i++) stem = foldStem(stem, codes[i] ?? 0);
    stem ||= 1;
  }
  const note = NOTES.of(stem);
  if ((note & LISTED) !== 0) return from;
  words.push(0, (note & STOP) === 0 ? stem : 0, all < 0x80 ? note : ODD);
  return at;
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
  const lower = line.slice(at, Math.min(end, at + 32)).toLowerCase();
  const word = lower.includes('’') ? lower.replaceAll('’', "'") : lower;
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
