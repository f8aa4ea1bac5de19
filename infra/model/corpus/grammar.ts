// Owns cutting a plain English sentence into subject, verb and rest, and the few verb forms that questions need. Knows no topics.
import { readList } from './lists.ts';

export interface Clause {
  readonly subject: string;
  /** As it stands in the sentence: "is", "stores", "must". */
  readonly verb: string;
  /** Everything after the verb, without the full stop. */
  readonly rest: string;
}

const VERBS = new Set(readList('verbs'));
const AUXILIARIES = new Set(['is', 'are', 'was', 'were', 'can', 'must', 'may', 'should', 'could', 'would', 'will', 'has', 'have']);
/** Past forms that the knowledge files use, with their base. */
const PAST: Record<string, string> = { introduced: 'introduce', published: 'publish', proposed: 'propose', came: 'come', went: 'go', made: 'make', wasted: 'waste', described: 'describe', used: 'use', began: 'begin', gave: 'give', took: 'take' };
/** Sentences that open with these have no subject in front; the first verb would be the wrong one. */
const NO_SUBJECT = /^(If|When|While|Because|Without|With|In|On|At|By|To|As|For|After|Before|From|Think|Picture|Compare|Send|Point|Run|Start|Here|Yes|No|Both|There|Asked|Besides|Since|Given|Above|Below)\b/;
const AFTER_NOUN = /^(a|an|the|its|their|of|to|each|every|per|and|or|for|in|by|with|from|more|than|no|few|many|most|all|own|these|those|that|which|who)$/i;

export function clauseOf(sentence: string): Clause | undefined {
  if (NO_SUBJECT.test(sentence)) return undefined;
  const words = sentence.replace(/[.!?]$/, '').split(' ');
  for (let i = 1; i < Math.min(words.length - 1, 9); i++) {
    const word = words[i] ?? '';
    const before = words[i - 1] ?? '';
    if (/[,:;]$/.test(before) && i > 1 && !AUXILIARIES.has(word) && !VERBS.has(word)) continue;
    if (VERBS.has(word) && !AFTER_NOUN.test(before)) return { subject: words.slice(0, i).join(' '), verb: word, rest: words.slice(i + 1).join(' ') };
  }
  return undefined;
}

export const isAuxiliary = (verb: string): boolean => AUXILIARIES.has(verb);

/** "stores" and "store" give "store"; the auxiliary of a question carries the number. */
export function baseForm(verb: string): string {
  const past = PAST[verb];
  if (past !== undefined) return past;
  if (verb === 'goes') return 'go';
  if (/(ch|sh|ss|x)es$/.test(verb)) return verb.slice(0, -2);
  if (/[^aeiou]ies$/.test(verb)) return `${verb.slice(0, -3)}y`;
  return verb.endsWith('s') && !verb.endsWith('ss') ? verb.slice(0, -1) : verb;
}

/** The helper that a question puts before the subject: "does", "do" or "did". */
export function helper(verb: string): string {
  if (verb in PAST) return 'did';
  return verb.endsWith('s') && !verb.endsWith('ss') ? 'does' : 'do';
}

const FUNCTION_WORDS = new Set(
  ('a an the of to in on at by for from with and or but as is are was were be been it its they them their this that these those there here which who whom whose what when where why how ' +
    'do does did can could may might must should would will shall has have had not no nor so if then than too very more most only just also any some each every all both one such same other another ' +
    'into onto over under between among through during before after while because until since out up off about against per via i you we he she me my your our us many much').split(' '),
);
const bare = (word: string): string => word.toLowerCase().replace(/^[^\p{L}\p{N}]+|[^\p{L}\p{N}]+$/gu, '');

export const isFunctionWord = (word: string): boolean => FUNCTION_WORDS.has(bare(word));

/** Words that carry the meaning, in their order, without marks at their ends. */
export function contentWords(text: string): string[] {
  return text
    .split(/\s+/)
    .map((word) => word.replace(/^[^\p{L}\p{N}/]+|[^\p{L}\p{N}]+$/gu, ''))
    .filter((word) => word !== '' && !FUNCTION_WORDS.has(word.toLowerCase()));
}
