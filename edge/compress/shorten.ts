/** Lossy: drops the sentences of a message's context that say least about its question. Knows no conversation. */
import { proseSpans, type Words } from './prose-spans.ts';
import { rankPassages, type Passages } from './rank.ts';
import type { Written } from './repeats.ts';
import { sentencesOf, type Sentence } from './sentences.ts';
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
const ENDS_IN_GAP = /(?:^|\s)…$/;
/** Shorter sentences hardly save more than a gap costs. */
const MIN_SENTENCE_CHARS = 24;
/** With fewer sentences to choose from, nothing is dropped. */
const MIN_SENTENCES = 4;
const QUESTION = /[?？؟]/;
/** Of the first word in Latin letters. */
const BEGINS_IMPERATIVE = new RegExp(`^[^a-z]*(?:${[...IMPERATIVES].join('|')})(?![a-z])`, 'i');

/** A text with a gap, ours or not, is not shortened (again). */
export function holdsGap(text: string): boolean {
  return STANDS_ALONE.test(text);
}

interface Candidate extends Sentence {
  readonly unit: number;
  readonly isDroppable: boolean;
}

/** Sentences of the units that may be shortened, and their words. */
interface Candidates extends Passages, Words {
  readonly sentences: Candidate[];
  readonly stems: number[];
  readonly ends: number[];
}

/** Order is kept, gaps are marked, and what `proseSpans` finds keeps its whole sentence. null: nothing was dropped. */
export function shorten(units: readonly Written[], { question, rate, isFixed }: Brief): Shortened | null {
  const candidates: Candidates = { sentences: [], starts: [], stems: [], ends: [] };
  for (let i = 0; i < units.length; i++) {
    const unit = units[i];
    if (unit?.kind === 'prose' && !isFixed(i)) addCandidates(candidates, unit.text, i);
  }
  const { sentences } = candidates;
  const ranked: number[] = [];
  let droppable = 0;
  for (let i = 0; i < sentences.length; i++) {
    const sentence = sentences[i];
    if (sentence?.isDroppable !== true) continue;
    ranked.push(i);
    droppable += sentence.end - sentence.start;
  }
  if (ranked.length < MIN_SENTENCES || rate >= 1) return null;
  const scores = rankPassages(candidates, question);
  // Of equals the later one goes: texts say the main thing first.
  ranked.sort((a, b) => (scores[a] ?? 0) - (scores[b] ?? 0) || b - a);
  let spare = (1 - rate) * droppable;
  const dropped = new Map<number, Sentence[]>();
  let droppedSentences = 0;
  for (const i of ranked) {
    const candidate = sentences[i];
    if (candidate === undefined || candidate.end - candidate.start > spare) continue;
    spare -= candidate.end - candidate.start;
    droppedSentences++;
    const ofUnit = dropped.get(candidate.unit);
    if (ofUnit === undefined) dropped.set(candidate.unit, [candidate]);
    else ofUnit.push(candidate);
  }
  return droppedSentences === 0 ? null : { units: withGaps(units, dropped), droppedSentences };
}

function addCandidates(candidates: Candidates, text: string, unit: number): void {
  const { sentences, starts, ends } = candidates;
  let [span, word] = [0, starts.length];
  const spans = proseSpans(text, candidates);
  for (const sentence of sentencesOf(text)) {
    const { start, end, isComplete } = sentence;
    while ((spans[span]?.end ?? Infinity) <= start) span++;
    const isProtected = (spans[span]?.start ?? Infinity) < end;
    while ((starts[word] ?? Infinity) < end) word++;
    ends.push(word);
    sentences.push({ unit, start, end, isComplete, isDroppable: !isProtected && saysLittleAlone(text, sentence) });
  }
}

/** Whole, long enough, no question, and not a word to the model. */
function saysLittleAlone(text: string, { start, end, isComplete }: Sentence): boolean {
  if (!isComplete || end - start < MIN_SENTENCE_CHARS || QUESTION.test(text.slice(end - 3, end))) return false;
  const sentence = text.slice(start, end);
  return !BEGINS_IMPERATIVE.test(sentence) && !ADDRESS.test(sentence);
}

function withGaps(units: readonly Written[], dropped: ReadonlyMap<number, readonly Sentence[]>): readonly Written[] {
  const written: Written[] = [];
  let blanks: Written[] = [];
  for (const [i, unit] of units.entries()) {
    if (unit.kind === 'blank') {
      blanks.push(unit);
      continue;
    }
    const sentences = dropped.get(i);
    const text = sentences === undefined ? unit.text : gapped(unit.text, sentences);
    // A line that is all gap, after a gap: one gap is enough.
    const isMerged = text === GAP && ENDS_IN_GAP.test(written.at(-1)?.text ?? '');
    if (!isMerged) written.push(...blanks, text === unit.text ? unit : { ...unit, text });
    blanks = [];
  }
  return [...written, ...blanks];
}

/** `sentences` in any order. */
function gapped(text: string, sentences: readonly Sentence[]): string {
  let kept = '';
  let at = 0;
  for (const { start, end } of sentences.toSorted((a, b) => a.start - b.start)) {
    const between = text.slice(at, start);
    at = end;
    if (between.trim() === '' && kept.endsWith(GAP)) continue;
    kept += between === '' || isSpace(between.at(-1)) ? between + GAP : `${between} ${GAP}`;
  }
  const rest = text.slice(at);
  const spaced = rest === '' || isSpace(rest[0]) ? rest : ` ${rest}`;
  return (kept + spaced).trim() === GAP ? GAP : kept + spaced;
}

/** As `\s` has it. */
function isSpace(character: string | undefined): boolean {
  return character?.trim() === '';
}
