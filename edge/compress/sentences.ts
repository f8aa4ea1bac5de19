/** A line of prose → its sentences, as offsets. Knows no scores. */
import { BLANK, ENDING, IDEOGRAPH, kindAt } from './characters.ts';

export interface Sentence {
  readonly start: number;
  /** One past its last character that is not a blank. */
  readonly end: number;
  /** A mark ends it; headings, labels and list items often have none. */
  readonly isComplete: boolean;
}

const ENDINGS = /[.!?؟۔।。！？]/g;
const WIDE_ENDS = '。！？';
const CLOSERS = '"”’\'»)]*_';
const LETTER_BEFORE = /(?:^|[^\p{L}])\p{L}$/u;
const ABBREVIATION =
  /(?:^|[^a-z])(?:mr|mrs|ms|dr|prof|st|vs|etc|approx|fig|no|vol|inc|ltd|jr|sr|dept|est|ca|cf|al|bzw|ggf)$/i;

/** In order; together they hold all of `line` but the blanks between them. */
export function sentencesOf(line: string): readonly Sentence[] {
  const sentences: Sentence[] = [];
  let start = skipBlanks(line, 0);
  ENDINGS.lastIndex = 0;
  while (ENDINGS.test(line)) {
    const index = ENDINGS.lastIndex - 1;
    if (kindAt(line, index - 1) === ENDING) continue;
    const end = index < start ? null : sentenceEnd(line, index);
    if (end === null) continue;
    sentences.push({ start, end, isComplete: true });
    start = skipBlanks(line, end);
  }
  let end = line.length;
  while (end > start && isBlank(line, end - 1)) end--;
  if (end > start) sentences.push({ start, end, isComplete: false });
  return sentences;
}

/** One past the sentence whose ending mark is at `at`; null if none ends there. */
function sentenceEnd(line: string, at: number): number | null {
  const mark = line[at] ?? '';
  let end = at + 1;
  while (kindAt(line, end) === ENDING || (end < line.length && CLOSERS.includes(line[end] ?? ''))) end++;
  if (end === line.length || WIDE_ENDS.includes(mark)) return end;
  if (!isBlank(line, end)) return kindAt(line, end) === IDEOGRAPH ? end : null;
  const next = line[skipBlanks(line, end)] ?? '';
  if (mark === '.' && (next !== next.toUpperCase() || isAbbreviation(line, at))) return null;
  return end;
}

function isAbbreviation(line: string, dot: number): boolean {
  const before = line.slice(Math.max(0, dot - 8), dot);
  return LETTER_BEFORE.test(before) || ABBREVIATION.test(before);
}

function skipBlanks(line: string, from: number): number {
  let at = from;
  while (at < line.length && isBlank(line, at)) at++;
  return at;
}

function isBlank(line: string, at: number): boolean {
  return kindAt(line, at) === BLANK;
}
