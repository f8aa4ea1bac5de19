/** A system prompt → a shorter one by rules: canonical form, empty phrases and sentences out, repeats out. Pure. */
import { compressMessages } from '../../edge/compress/compress.ts';
import { proseSpans } from '../../edge/compress/prose-spans.ts';
import { sentencesOf } from '../../edge/compress/sentences.ts';
import { joinUnits, parseUnits, type Unit } from '../../edge/compress/units.ts';
import { articleBefore } from './article.ts';
import { EMPTY_SENTENCES, FILLERS, OPENERS, PHRASES, PRAISED_ROLE } from './rules.ts';

/** A rule may make room for another. */
const MAX_ROUNDS = 8;
/** Indentation, list marks and numbers, bold labels. */
const LINE_HEAD = /^\s*(?:(?:[-*•+]|\d{1,3}[.)]) +)?/;
const HEADING = /^\s*#|[:：]\**\s*$/;
/** A repeat has so many words that tell sentences apart. */
const MIN_WORDS = 2;
const ENDING = /[.!]+$/;

/**
 * Code, tables, JSON and fenced text stay as they are; of prose every number, negation, quote, name in code and URL
 * stays verbatim, in its sentence or in the earlier one that says the same. The result shortened again is the same.
 */
export function shortenPrompt(text: string): string {
  let short = canonical(text);
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const next = canonical(withoutRepeats(short));
    if (next === short) break;
    short = next;
  }
  // A role alone says more than nothing.
  return short === '' ? canonical(text) : short;
}

/** As the edge leaves it when it compresses without loss: so it is sent, and so a worker knows it again. */
export function canonical(text: string): string {
  return (
    compressMessages([{ role: 'system', content: text }], { mode: 'lossless', rate: 1 }).messages[0]?.content ?? text
  );
}

/** Keys of sentences so far → the protected spans of the first one. */
type Said = Map<string, readonly string[]>;

function withoutRepeats(text: string): string {
  const said: Said = new Map();
  const kept: Pick<Unit, 'kind' | 'text'>[] = [];
  for (const unit of parseUnits(text)) {
    const short = unit.kind === 'prose' && !HEADING.test(unit.text) ? shortLine(unit.text, said) : unit.text;
    // A mark of code in the middle of a line may open code at its begin.
    const line = unit.kind === 'prose' && parseUnits(short)[0]?.kind === 'code' ? unit.text : short;
    if (unit.kind === 'prose' && line === '') continue;
    const isSecondBlank = unit.kind === 'blank' && (kept.at(-1)?.kind ?? 'blank') === 'blank';
    if (!isSecondBlank) kept.push({ kind: unit.kind, text: line });
  }
  if (kept.at(-1)?.kind === 'blank') kept.pop();
  return joinUnits(kept);
}

/** '' where nothing is left to say. */
function shortLine(line: string, said: Said): string {
  const [head = ''] = LINE_HEAD.exec(line) ?? [];
  const body = line.slice(head.length);
  let kept = '';
  let at = 0;
  for (const { start, end } of wholeSentences(body)) {
    const sentence = shortSentence(body.slice(start, end));
    if (sentence !== '' && !isRepeat(sentence, said)) kept += (kept === '' ? '' : body.slice(at, start)) + sentence;
    at = end;
  }
  return kept === '' ? '' : head + kept;
}

/** Sentences that no quote or code reaches beyond. */
function wholeSentences(body: string): readonly Range[] {
  const spans = proseSpans(body);
  const whole: { start: number; end: number }[] = [];
  for (const { start, end } of sentencesOf(body)) {
    const last = whole.at(-1);
    if (last !== undefined && spans.some((span) => span.start < last.end && span.end > start)) last.end = end;
    else whole.push({ start, end });
  }
  return whole;
}

interface Range {
  readonly start: number;
  readonly end: number;
}

function shortSentence(sentence: string): string {
  const bare = sentence.replace(ENDING, '');
  if (EMPTY_SENTENCES.some((pattern) => pattern.test(bare)) && spansOf(sentence).length === 0) return '';
  let short = sentence;
  for (const opener of OPENERS) {
    const rest = short.replace(opener, '');
    if (rest !== short) short = safest(short, capitalized(rest));
  }
  for (const [pattern, replacement] of PHRASES) {
    const next = short.replace(pattern, replacement);
    short = safest(short, /^\p{Lu}/u.test(short) ? capitalized(next) : next);
  }
  return safest(short, withoutPraise(short));
}

/** Of a role. */
function withoutPraise(sentence: string): string {
  return sentence.replace(
    PRAISED_ROLE,
    (all, begin: string) => `${begin}${articleBefore(sentence.slice(all.length))} `,
  );
}

function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** `next`, unless something protected would go. */
function safest(before: string, next: string): string {
  const spans = spansOf(next);
  return spansOf(before).every((span) => spans.includes(span)) ? next : before;
}

function isRepeat(sentence: string, said: Said): boolean {
  const words = sentence.toLowerCase().match(/\p{Script=Han}|[\p{L}\p{N}'’_-]+/gu) ?? [];
  const telling = words.filter((word) => !FILLERS.has(word));
  const key = telling.join(' ');
  const spans = spansOf(sentence);
  const before = said.get(key);
  if (before === undefined) said.set(key, spans);
  if (before === undefined || telling.length < MIN_WORDS) return false;
  return spans.length === before.length && spans.every((span, i) => span === before[i]);
}

function spansOf(line: string): readonly string[] {
  return proseSpans(line).map(({ start, end }) => line.slice(start, end));
}
