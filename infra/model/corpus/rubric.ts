// Owns keeping the rubric out of the training data: questions that share nearly all their content words with one of it. Knows no answers.
import { readFileSync } from 'node:fs';
import { contentWords } from './grammar.ts';
import type { Example } from './example.ts';

/** Share of common words, of all words of both, from which two questions count as the same. */
const SAME = 0.7;

const wordsOf = (question: string): ReadonlySet<string> => new Set(contentWords(question).flatMap((word) => word.toLowerCase().split(/[^\p{L}\p{N}]+/u)).filter((word) => word !== ''));

const RUBRIC = (JSON.parse(readFileSync(new URL('../rubric.json', import.meta.url), 'utf8')) as readonly { readonly question: string }[]).map(({ question }) => wordsOf(question));
const known = new Map<string, boolean>();

function isNearRubric(question: string): boolean {
  const words = wordsOf(question);
  return RUBRIC.some((other) => {
    const common = [...words].filter((word) => other.has(word)).length;
    return common / (words.size + other.size - common) >= SAME;
  });
}

/** Long texts hold no question of the rubric's length. */
export function exampleIsNearRubric(example: Example): boolean {
  if ('text' in example) return false;
  return example.messages.some(({ role, content }) => {
    if (role !== 'user' || content.length > 200) return false;
    const cached = known.get(content);
    if (cached !== undefined) return cached;
    const near = isNearRubric(content);
    known.set(content, near);
    return near;
  });
}
