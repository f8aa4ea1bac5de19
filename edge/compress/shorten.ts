/** Lossy: drops the sentences of a message's context that say least about its question. Knows no conversation. */
import type { CodedLine } from './codes.ts';
import { IntList } from './int-list.ts';
import { LeastFirst } from './least-first.ts';
import { ADDRESS_NOTE, IMPERATIVE_NOTE, ODD, scanProse, Words } from './prose-spans.ts';
import { rankPassages } from './rank.ts';
import type { Written } from './repeats.ts';
import { splitSentences } from './sentences.ts';
import { ADDRESS, IMPERATIVES } from './words.ts';

export interface Brief {
  readonly question: string;
  /** Share of the droppable text that stays at least, in characters. */
  readonly rate: number;
  /** Units that stay whole: the sender's own words, and lines that references point at. */
  readonly isFixed: (index: number) => boolean;
}

export interface Shortened {
  readonly units: readonly Written[];
  readonly droppedSentences: number;
}

/** Stands for each run of dropped sentences, with blanks or line ends around it. */
const GAP = '…';
const STANDS_ALONE = /(?:^|\s)…(?:\s|$)/;
/** Shorter sentences hardly save more than a gap costs. */
const MIN_SENTENCE_CHARS = 24;
/** With fewer sentences to choose from, nothing is dropped. */
const MIN_SENTENCES = 4;
const QUESTION_MARKS = [...'?？؟'].map((mark) => mark.charCodeAt(0));
/** Of the first word in Latin letters. */
const BEGINS_IMPERATIVE = new RegExp(`^[^a-z]*(?:${[...IMPERATIVES].join('|')})(?![a-z])`, 'i');

const UNCERTAIN = ODD | ADDRESS_NOTE;

/** A text with a gap, ours or not, is not shortened (again). */
export function holdsGap(text: string): boolean {
  return text.includes(GAP) && STANDS_ALONE.test(text);
}

type Range = readonly [start: number, end: number];

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
          !this.#speaksToModel(coded.line, [start, end], [first, word]);
        if (mayGo) this.droppable.push(this.units.size);
        if (mayGo) this.droppableChars += end - start;
      }
      this.units.push(unit);
      this.starts.push(start);
      this.ends.push(end);
      this.wordEnds.push(word);
    }
  }

  /** By the notes of its words, where these are enough to tell. */
  #speaksToModel(line: string, [start, end]: Range, [first, last]: Range): boolean {
    const { notes } = this.words;
    let all = (notes[first] ?? 0) & IMPERATIVE_NOTE;
    for (let i = first; i < last; i++) all |= (notes[i] ?? 0) & UNCERTAIN;
    if (all === 0) return false;
    const sentence = line.slice(start, end);
    return BEGINS_IMPERATIVE.test(sentence) || ADDRESS.test(sentence);
  }
}

const candidates = new Candidates();

/** Order is kept, gaps are marked, and what `proseSpans` finds keeps its whole sentence. null: nothing was dropped. */
export function shorten(
  units: readonly Written[],
  codes: Uint16Array,
  { question, rate, isFixed }: Brief,
): Shortened | null {
  if (rate >= 1) return null;
  candidates.clear();
  for (let i = 0; i < units.length; i++) {
    const unit = units[i];
    if (unit?.kind === 'prose' && !isFixed(i)) candidates.add({ line: unit.text, codes, base: unit.start }, i);
  }
  const { droppable } = candidates;
  if (droppable.size < MIN_SENTENCES) return null;
  const scores = rankPassages({ stems: candidates.words.stems, ends: candidates.wordEnds.taken() }, question);
  // Of equals the later one goes: texts say the main thing first.
  const least = new LeastFirst(droppable.taken(), scores);
  const isDropped = new Uint8Array(scores.length);
  let spare = (1 - rate) * candidates.droppableChars;
  let droppedSentences = 0;
  for (let i = least.next(); i !== null && spare >= MIN_SENTENCE_CHARS; i = least.next()) {
    const chars = (candidates.ends.items[i] ?? 0) - (candidates.starts.items[i] ?? 0);
    if (chars > spare) continue;
    spare -= chars;
    isDropped[i] = 1;
    droppedSentences++;
  }
  return droppedSentences === 0 ? null : { units: withGaps(units, isDropped), droppedSentences };
}

/** Among the last three characters before `end`. */
function hasQuestionMark(codes: Uint16Array, end: number): boolean {
  for (let at = end - 3; at < end; at++) if (QUESTION_MARKS.includes(codes[at] ?? 0)) return true;
  return false;
}

function withGaps(units: readonly Written[], isDropped: Uint8Array): readonly Written[] {
  const written: Written[] = [];
  const unitOf = candidates.units.items;
  let blanks = 0;
  let candidate = 0;
  let endsInGap = false;
  for (let i = 0; i < units.length; i++) {
    const unit = units[i];
    if (unit === undefined || unit.kind === 'blank') {
      blanks++;
      continue;
    }
    const first = candidate;
    let dropped = 0;
    for (; candidate < isDropped.length && unitOf[candidate] === i; candidate++) dropped += isDropped[candidate] ?? 0;
    const text = dropped === 0 ? unit.text : gapped(unit.text, isDropped, [first, candidate]);
    // A line that is all gap, after a gap: one gap is enough.
    if (!endsInGap || text !== GAP) {
      for (let k = i - blanks; k < i; k++) written.push(units[k] ?? unit);
      written.push(dropped === 0 ? unit : { ...unit, text });
    }
    endsInGap = dropped > 0 && text.endsWith(GAP);
    blanks = 0;
  }
  return [...written, ...units.slice(units.length - blanks)];
}

/** Candidates from `first` to before `end` are the line's: all of it but blanks between them. */
function gapped(text: string, isDropped: Uint8Array, [first, end]: Range): string {
  const starts = candidates.starts.items;
  const ends = candidates.ends.items;
  let kept = '';
  let at = 0;
  let isAll = true;
  for (let i = first; i < end; i++) {
    if (isDropped[i] !== 1) {
      isAll = false;
      continue;
    }
    if (i === first || isDropped[i - 1] !== 1) {
      const start = starts[i] ?? 0;
      const isApart = start === 0 || isSpace(text.charCodeAt(start - 1));
      kept += isApart ? text.slice(at, start) + GAP : `${text.slice(at, start)} ${GAP}`;
    }
    at = ends[i] ?? text.length;
  }
  if (isAll) return GAP;
  const rest = text.slice(at);
  return rest === '' || isSpace(rest.charCodeAt(0)) ? kept + rest : `${kept} ${rest}`;
}

/** Those that stand between sentences. */
function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x09 || code === 0x0d;
}
