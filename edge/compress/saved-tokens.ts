/** What was taken out of a message → tokens, by what kind of text it is. Knows no tokenizer. */
import type { Unit } from './units.ts';
import type { Written } from './written.ts';

/**
 * Tokens a byte, measured with the tokenizer of `models/millrace-mini` on the prompts of `npm run bench:compress`: stray
 * blanks are mostly tokens of their own, JSON has indents of several, and digits and marks make repeats dearer than the
 * sentences that may be dropped, which have none.
 */
const [BLANKS, JSON_BLANKS, JSON_TEXT, PROSE, DROPPED] = [0.97, 0.4, 0.45, 0.3, 0.26];

interface Lengths {
  json: number;
  prose: number;
}

export interface Change {
  /** As the message was read, and what is sent of it. */
  readonly units: readonly Unit[];
  readonly sent: readonly Written[];
  /** Of sentences that were dropped. */
  readonly droppedChars: number;
}

/** As if every character were a byte. */
export function savedTokens({ units, sent, droppedChars }: Change): number {
  let blanks = 0;
  let jsonBlanks = 0;
  for (const { start, end, text, jsonAt } of units) {
    if (jsonAt === null) blanks += end - start - text.length;
    else jsonBlanks += end - start - text.length;
  }
  const before = lengthsOf(units);
  const after = lengthsOf(sent);
  const prose = before.prose - after.prose - droppedChars;
  return (
    BLANKS * blanks +
    JSON_BLANKS * jsonBlanks +
    JSON_TEXT * (before.json - after.json) +
    PROSE * prose +
    DROPPED * droppedChars
  );
}

/** Of canonical texts, with their line feeds. */
function lengthsOf(units: readonly Pick<Written, 'kind' | 'text'>[]): Lengths {
  const lengths = { json: 0, prose: 0 };
  for (const { kind, text } of units) {
    if (kind === 'json') lengths.json += text.length + 1;
    else lengths.prose += text.length + 1;
  }
  return lengths;
}
