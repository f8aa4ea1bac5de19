/** Lossy: drops the sentences of a message's context that say least about its question. Knows no conversation. */
import type { CodedLine } from './codes.ts';
import { withGaps } from './gaps.ts';
import { IntList } from './int-list.ts';
import { LeastFirst } from './least-first.ts';
import { ADDRESS_NOTE, IMPERATIVE_NOTE, ODD, scanProse } from './prose-spans.ts';
import { rankPassages } from './rank.ts';
import { splitSentences } from './sentences.ts';
import { Words } from './word-columns.ts';
import { ADDRESS, IMPERATIVES } from './words.ts';
import type { Written } from './written.ts';

export interface Brief {
  readonly question: string;
  /** Share of the droppable text that stays at least, in characters. */
  readonly rate: number;
  /** Characters that may be told of what lines above were sent without: so much was saved. */
  readonly allowance: number;
  /** Units that stay whole: the sender's own words, and lines that references point at. */
  readonly isFixed: (index: number) => boolean;
}

export interface Shortened {
  readonly units: readonly Written[];
  readonly droppedSentences: number;
  /** That the dropped ones had more than their gaps, at least; without those that rests lost. */
  readonly gainedChars: number;
}

/** Of a gap and the blanks around it, in UTF-8. */
const MAX_GAP_BYTES = 5;
/** A line feed after a rest, and its share of what makes the reference before it longer. */
const REST_BYTES = 7;
/** Shorter sentences hardly save more than a gap costs. */
const MIN_SENTENCE_CHARS = 24;
/** With fewer sentences to choose from, nothing is dropped. */
const MIN_SENTENCES = 4;
const QUESTION_MARKS = [...'?？؟'].map((mark) => mark.charCodeAt(0));
/** Of the first word in Latin letters. */
const BEGINS_IMPERATIVE = new RegExp(`^[^a-z]*(?:${[...IMPERATIVES].join('|')})(?![a-z])`, 'i');

const UNCERTAIN = ODD | ADDRESS_NOTE;

/** Sentences of the units that may be shortened, in columns, and their words. */
class Candidates {
  readonly words = new Words();
  readonly units = new IntList();
  readonly starts = new IntList();
  readonly ends = new IntList();
  /** Where each one's words end. */
  readonly wordEnds = new IntList();
  /** Indices of those that may go. */
  readonly droppable = new IntList();
  droppableChars = 0;

  clear(): void {
    this.words.size = 0;
    for (const list of [this.units, this.starts, this.ends, this.wordEnds, this.droppable]) list.size = 0;
    this.droppableChars = 0;
  }

  add(coded: CodedLine, unit: number): void {
    const { words } = this;
    let span = 0;
    let word = words.size;
    const spans = scanProse(coded, words);
    const columns = splitSentences(coded);
    const { starts } = words;
    for (let i = 0; i < columns.length; i += 3) {
      const start = columns[i] ?? 0;
      const end = columns[i + 1] ?? 0;
      while ((spans[span]?.end ?? Infinity) <= start) span++;
      const isProtected = (spans[span]?.start ?? Infinity) < end;
      const first = word;
      while (word < words.size && (starts[word] ?? 0) < end) word++;
      if (columns[i + 2] === 1 && !isProtected && end - start >= MIN_SENTENCE_CHARS) {
        const mayGo =
          !hasQuestionMark(coded.codes, coded.base + end) &&
          !(this.#isDoubtful(first, word) && speaksToModel(coded.line.slice(start, end)));
        if (mayGo) this.droppable.push(this.units.size);
        if (mayGo) this.droppableChars += end - start;
      }
      this.units.push(unit);
      this.starts.push(start);
      this.ends.push(end);
      this.wordEnds.push(word);
    }
  }

  /** The notes of a sentence's words are not enough to tell that it does not speak to the model. */
  #isDoubtful(first: number, last: number): boolean {
    const { notes } = this.words;
    let all = (notes[first] ?? 0) & IMPERATIVE_NOTE;
    for (let i = first; i < last; i++) all |= (notes[i] ?? 0) & UNCERTAIN;
    return all !== 0;
  }
}

function speaksToModel(sentence: string): boolean {
  return BEGINS_IMPERATIVE.test(sentence) || ADDRESS.test(sentence);
}

const candidates = new Candidates();

/** Order is kept, gaps are marked, and what `proseSpans` finds keeps its whole sentence. null: nothing was dropped. */
export function shorten(units: readonly Written[], codes: Uint16Array, brief: Brief): Shortened | null {
  if (brief.rate >= 1) return null;
  candidates.clear();
  const rests: number[] = [];
  for (let i = 0; i < units.length; i++) {
    const unit = units[i];
    const isRest = unit?.kind === 'rest';
    if (!isRest && (unit?.kind !== 'prose' || brief.isFixed(i))) continue;
    const first = candidates.units.size;
    candidates.add({ line: unit.text, codes, base: unit.start }, i);
    if (isRest) for (let k = first; k < candidates.units.size; k++) rests.push(k);
  }
  const { droppable, words, wordEnds, units: unitOf, starts, ends } = candidates;
  if (droppable.size < MIN_SENTENCES && rests.length === 0) return null;
  const scores = rankPassages({ stems: words.stems, ends: wordEnds.items, count: wordEnds.size }, brief.question);
  const isDropped = new Uint8Array(wordEnds.size);
  let droppedSentences = droppable.size < MIN_SENTENCES ? 0 : dropByRate(scores, brief.rate, isDropped);
  if (rests.length > 0) droppedSentences += dropUnpaid(scores, { rests, allowance: brief.allowance }, isDropped);
  if (droppedSentences === 0) return null;
  let gainedChars = 0;
  for (let i = 0; i < isDropped.length; i++) {
    if (isDropped[i] === 1 && units[unitOf.items[i] ?? 0]?.kind === 'prose') gainedChars += charsOf(i) - MAX_GAP_BYTES;
  }
  const sentences = { units: unitOf.items, starts: starts.items, ends: ends.items, isDropped };
  return { units: withGaps(units, sentences), droppedSentences, gainedChars };
}

/** How many: the least telling ones, as long as the rate of all stays. */
function dropByRate(scores: Float64Array, rate: number, isDropped: Uint8Array): number {
  // Of equals the later one goes: texts say the main thing first.
  const least = new LeastFirst(candidates.droppable.taken(), scores);
  let spare = (1 - rate) * candidates.droppableChars;
  let count = 0;
  for (let i = least.next(); i !== null && spare >= MIN_SENTENCE_CHARS; i = least.next()) {
    const chars = charsOf(i);
    if (chars > spare) continue;
    spare -= chars;
    isDropped[i] = 1;
    count++;
  }
  return count;
}

/** How many: of what was left out above, only so much is told that shortening saves more. */
function dropUnpaid(
  scores: Float64Array,
  { rests, allowance }: { readonly rests: readonly number[]; readonly allowance: number },
  isDropped: Uint8Array,
): number {
  const told = rests.filter((i) => isDropped[i] !== 1);
  let owed = told.reduce((sum, i) => sum + charsOf(i) + REST_BYTES, -allowance);
  const least = new LeastFirst(Int32Array.from(told), scores);
  let count = 0;
  for (let i = least.next(); i !== null && owed > 0; i = least.next()) {
    owed -= charsOf(i) + REST_BYTES;
    isDropped[i] = 1;
    count++;
  }
  return count;
}

function charsOf(candidate: number): number {
  return (candidates.ends.items[candidate] ?? 0) - (candidates.starts.items[candidate] ?? 0);
}

/** Among the last three characters before `end`. */
function hasQuestionMark(codes: Uint16Array, end: number): boolean {
  for (let at = end - 3; at < end; at++) if (QUESTION_MARKS.includes(codes[at] ?? 0)) return true;
  return false;
}
