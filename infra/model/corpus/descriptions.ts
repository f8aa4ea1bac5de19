// Owns noun phrases that mean a topic without naming it: written ones, and ones cut from its definitions. Knows no questions.
import type { Topic } from './knowledge.ts';
import { clauseOf, contentWords } from './grammar.ts';

const key = (text: string): string => text.toLowerCase().replace(/^(a|an|the) /, '');

/** "X is a Y that Z" gives "a Y that Z"; "X stores Y" gives "the thing that stores Y". */
function fromDefinition(topic: Topic, definition: string): string[] {
  const clause = clauseOf(definition);
  if (clause === undefined || !topic.names.some((name) => key(name) === key(clause.subject))) return [];
  const whole = clause.rest.replace(/, (so that|which|because|so|where) .*$/, '').replace(/[;:] .*$/, '');
  const phrase = /^(is|are)$/.test(clause.verb) ? whole : `the thing that ${clause.verb} ${whole}`;
  if (/^(is|are)$/.test(clause.verb) && !/^(a|an|the|one|any|small|text|numbers|units|targets|vectors|pieces) /.test(phrase)) return [];
  const words = new Set(contentWords(phrase).map((word) => word.toLowerCase()));
  const naming = topic.names.some((name) => contentWords(name).every((word) => words.has(word.toLowerCase())));
  return naming || phrase.length < 15 || phrase.length > 140 ? [] : [phrase];
}

const found = new Map<Topic, readonly string[]>();

export function descriptionsOf(topic: Topic): readonly string[] {
  const known = found.get(topic);
  if (known !== undefined) return known;
  // Written descriptions are plainer than cut ones, so they count twice.
  const all = [...topic.descriptions, ...topic.descriptions, ...topic.definitions.flatMap((definition) => fromDefinition(topic, definition))];
  found.set(topic, all);
  return all;
}
