/** Which lines of a message are its sender's own words (question, instructions) and which are context. Knows no ranking. */
import { BEYOND_ASCII, COLON_MARK, OPENER_MARK } from './code-lines.ts';
import type { Unit } from './units.ts';

export interface OwnWords {
  /** One flag a unit: own words, never shortened or replaced. */
  readonly flags: readonly boolean[];
  /** The last question in them; else, if the message does not begin with context, their last line. */
  readonly question: string | null;
}

/** A longer line is no question: it is a document on one line. */
const MAX_OWN_CHARS = 2000;
const CONTEXT_NOUNS =
  'contexts?|documents?|docs?|sources?|passages?|excerpts?|articles?|observations?|references?|background|' +
  'transcripts?|snippets?|chunks?|search[ _]results?|results?|tool[ _](?:results?|outputs?|responses?)';
/** `Document 2: …`, `### Context`, `[2] …`, `<document index="2">`. */
const CONTEXT_BEGIN = new RegExp(
  `\\s*(?:#+ |\\*\\*)?(?:(?:${CONTEXT_NOUNS})\\b[^:：\\n]{0,60}[:：]|\\[\\d{1,4}\\]:?\\s|<(?:${CONTEXT_NOUNS})\\b[^>\\n]{0,200}>)`,
  'iy',
);
const CONTEXT_HEADING = new RegExp(`#+ (?:the )?(?:${CONTEXT_NOUNS})\\b`, 'iy');
const CONTEXT_END = new RegExp(`</(?:${CONTEXT_NOUNS})>$`, 'i');
const QUESTION_LABEL =
  /\s*(?:#+ |\*\*)?(?:(?:(?:my |the )?(?:question|query|task|request|instructions?)|q|user|frage|aufgabe|pregunta|domanda|pergunta)\b|问题|問題|質問)[^:：\n]{0,20}[:：]/iy;
const ANSWER_LABEL = /\s*(?:\*\*)?(?:answer|response|a|assistant|antwort|réponse|respuesta)[:：]\**\s*$/iy;
const QUESTION_MARKS = /[?？؟]/;

/**
 * Own are: what stands before the first context marker (without one, the first line); the paragraph of a `Question:`
 * label; what follows the last closing tag of context; and the message's end, from the first line with a question mark in
 * its last paragraph on, or its last line alone.
 */
export function ownWords(units: readonly Unit[]): OwnWords {
  const flags: boolean[] = [];
  const isContext: boolean[] = [];
  let firstText = -1;
  let firstContext = -1;
  let closed = -1;
  for (let i = 0; i < units.length; i++) {
    const unit = units[i];
    if (unit === undefined) break;
    const begins = unit.kind === 'prose' && beginsContext(unit);
    flags.push(false);
    isContext.push(begins);
    if (begins && firstContext < 0) firstContext = i;
    if (firstText < 0 && unit.kind !== 'blank') firstText = i;
    if (unit.kind === 'prose' && endsContext(unit.text)) closed = i;
  }
  const own = (i: number) => {
    const unit = units[i];
    if (unit?.kind === 'prose' && unit.text.length <= MAX_OWN_CHARS) flags[i] = true;
  };
  const head = firstContext < 0 ? firstText + 1 : firstContext;
  for (let i = 0; i < head; i++) own(i);
  if (closed >= 0) for (let i = closed + 1; i < units.length; i++) if (isContext[i] !== true) own(i);
  for (let i = 0; i < units.length; i++) {
    if (!labelsQuestion(units[i])) continue;
    for (; i < units.length && units[i]?.kind !== 'blank' && isContext[i] !== true; i++) own(i);
  }
  for (let i = endBegin(units, isContext); i < units.length; i++) own(i);
  return { flags, question: questionOf(units, flags, firstContext === 0) };
}

/** Every pattern that labels needs one of these marks in a line's begin. */
const LABEL_MARKS = COLON_MARK | BEYOND_ASCII | OPENER_MARK;

function beginsContext({ text, marks }: Unit): boolean {
  if ((marks & LABEL_MARKS) === 0) return false;
  CONTEXT_BEGIN.lastIndex = 0;
  CONTEXT_HEADING.lastIndex = 0;
  return CONTEXT_BEGIN.test(text) || CONTEXT_HEADING.test(text);
}

function endsContext(text: string): boolean {
  return text.endsWith('>') && CONTEXT_END.test(text.slice(-80));
}

function labelsQuestion(unit: Unit | undefined): boolean {
  return unit !== undefined && (unit.marks & LABEL_MARKS) !== 0 && matches(QUESTION_LABEL, unit);
}

function matches(pattern: RegExp, unit: Unit | undefined): boolean {
  pattern.lastIndex = 0;
  return unit?.kind === 'prose' && pattern.test(unit.text);
}

/** Index of the first unit of the message's end. */
function endBegin(units: readonly Unit[], isContext: readonly boolean[]): number {
  let last = units.length - 1;
  while (last > 0 && (units[last]?.kind === 'blank' || matches(ANSWER_LABEL, units[last]))) last--;
  if (isContext[last] === true) return units.length;
  let begin = last;
  for (let i = last; i >= 0 && units[i]?.kind === 'prose' && isContext[i] !== true; i--) {
    if (QUESTION_MARKS.test(units[i]?.text ?? '')) begin = i;
  }
  return begin;
}

function questionOf(units: readonly Unit[], own: readonly boolean[], beginsWithContext: boolean): string | null {
  let lastLine: string | null = null;
  for (let i = units.length - 1; i >= 0; i--) {
    const text = units[i]?.text ?? '';
    if (own[i] !== true || matches(ANSWER_LABEL, units[i])) continue;
    if (QUESTION_MARKS.test(text)) return lastQuestion(text);
    lastLine ??= text;
  }
  return beginsWithContext ? null : lastLine;
}

/** The sentence that the last question mark ends. */
function lastQuestion(text: string): string {
  const end = Math.max(...['?', '？', '؟'].map((mark) => text.lastIndexOf(mark)));
  const before = text.slice(0, end);
  const begin = Math.max(...['. ', '! ', '? ', '。', '！', '？', '؟ '].map((mark) => before.lastIndexOf(mark)));
  return before.slice(begin + 1).trim();
}
