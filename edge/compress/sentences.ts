/** A line of prose → its sentences, as offsets. Knows no scores. */
import {
  BLANK,
  ENDING,
  foldStem,
  IDEOGRAPH,
  isLetter,
  KINDS,
  LOWER,
  OTHER,
  STEM_CHARS,
  tableOf,
} from './characters.ts';
import { CodeBuffer, type CodedLine } from './codes.ts';
import { WordNotes } from './words.ts';

export interface Sentence {
  readonly start: number;
  /** One past its last character that is not a blank. */
  readonly end: number;
  /** A mark ends it; headings, labels and list items often have none. */
  readonly isComplete: boolean;
}

/** What must be known of a character, as bits. */
const [MARK, WIDE, CLOSER, SPACE, WORDLESS, LATIN, SMALL] = [1, 2, 4, 8, 16, 32, 64];
const SHAPE_OF_KIND = new Uint8Array(16);
SHAPE_OF_KIND[ENDING] = MARK;
SHAPE_OF_KIND[BLANK] = SPACE;
SHAPE_OF_KIND[IDEOGRAPH] = WORDLESS;
const SHAPES = tableOf((kind) => SHAPE_OF_KIND[kind] ?? 0);
for (let code = 0; code < 0x80; code++) {
  if (isLetter(KINDS[code] ?? OTHER)) SHAPES[code] = KINDS[code] === LOWER ? LATIN | SMALL : LATIN;
}
for (const wide of '。！？') SHAPES[wide.charCodeAt(0)] = MARK | WIDE;
for (const closer of '"”’\'»)]*_') SHAPES[closer.charCodeAt(0)] = CLOSER;
const DOT = 0x2e;
const LETTER_BEFORE = /(?:^|[^\p{L}])\p{L}$/u;
/** No longer than a stem. */
const ABBREVIATIONS = new WordNotes([
  [1, 'mr mrs ms dr prof st vs etc approx fig no vol inc ltd jr sr dept est ca cf al bzw ggf'.split(' ')],
]);

const buffer = new CodeBuffer();

/** In order; together they hold all of `line` but the blanks between them. */
export function sentencesOf(line: string): readonly Sentence[] {
  const sentences: Sentence[] = [];
  const columns = splitSentences({ line, codes: buffer.load(line), base: 0 });
  for (let i = 0; i < columns.length; i += 3) {
    sentences.push({ start: columns[i] ?? 0, end: columns[i + 1] ?? 0, isComplete: columns[i + 2] === 1 });
  }
  return sentences;
}

/** As `sentencesOf`, but flat: start, end and 1 if it is complete, sentence after sentence. */
export function splitSentences(coded: CodedLine): readonly number[] {
  const columns: number[] = [];
  const { codes, base } = coded;
  const limit = base + coded.line.length;
  const shapes = SHAPES;
  let start = skipBlanks(codes, base, limit);
  for (let at = start; at < limit; at++) {
    if (((shapes[codes[at] ?? 0] ?? 0) & MARK) === 0) continue;
    if (at > base && has(codes[at - 1], MARK)) continue;
    const end = sentenceEnd(coded, at);
    if (end === at) continue;
    columns.push(start - base, end - base, 1);
    start = skipBlanks(codes, end, limit);
    at = start - 1;
  }
  let end = limit;
  while (end > start && has(codes[end - 1], SPACE)) end--;
  if (end > start) columns.push(start - base, end - base, 0);
  return columns;
}

/** One past the sentence whose ending mark is at `at`; `at` if none ends there. */
function sentenceEnd(coded: CodedLine, at: number): number {
  const { codes } = coded;
  const limit = coded.base + coded.line.length;
  let end = at + 1;
  while (end < limit && has(codes[end], MARK | CLOSER)) end++;
  if (end === limit || has(codes[at], WIDE)) return end;
  if (!has(codes[end], SPACE)) return has(codes[end], WORDLESS) ? end : at;
  if (codes[at] !== DOT) return end;
  const next = skipBlanks(codes, end, limit);
  return (next < limit && isLowerCase(codes[next] ?? 0)) || isAbbreviation(coded, at) ? at : end;
}

function isLowerCase(code: number): boolean {
  if (code < 0x80) return has(code, SMALL);
  const character = String.fromCharCode(code);
  return character !== character.toUpperCase();
}

/** What stands before a dot is a letter alone, or a known abbreviation. */
function isAbbreviation({ line, codes, base }: CodedLine, dot: number): boolean {
  const least = Math.max(base, dot - STEM_CHARS - 1);
  let from = dot;
  while (from > least && has(codes[from - 1], LATIN)) from--;
  if (dot - from > STEM_CHARS) return false;
  if (dot - from <= 1) {
    const before = from > base ? (codes[from - 1] ?? 0) : 0;
    return before < 0x80 ? from < dot : LETTER_BEFORE.test(line.slice(Math.max(0, dot - base - 4), dot - base));
  }
  let stem = 0;
  for (let at = from; at < dot; at++) stem = foldStem(stem, codes[at] ?? 0);
  return ABBREVIATIONS.of(stem) !== 0;
}

function skipBlanks(codes: Uint16Array, from: number, limit: number): number {
  let at = from;
  while (at < limit && has(codes[at], SPACE)) at++;
  return at;
}

function has(code: number | undefined, shape: number): boolean {
  return ((SHAPES[code ?? 0] ?? 0) & shape) !== 0;
}
