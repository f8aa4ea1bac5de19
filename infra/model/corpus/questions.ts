// Owns how users word questions about a whole topic: frames per intent, and the names a topic goes by. Knows nothing of answers.
import { readFileSync } from 'node:fs';
import type { Random } from './random.ts';
import type { Topic } from './knowledge.ts';

const INTENTS = ['what', 'explain', 'detail', 'sentence', 'short', 'simple', 'bullets', 'three', 'why', 'purpose', 'example'] as const;
export type Intent = (typeof INTENTS)[number];
const OTHER_FRAMES = ['compare', 'term', 'describe', 'stands', 'abbreviate', 'keywords'] as const;
type Frame = Intent | (typeof OTHER_FRAMES)[number];

function readFrames(): ReadonlyMap<Frame, readonly string[]> {
  const frames = new Map<Frame, string[]>();
  let current: string[] = [];
  for (const line of readFileSync(new URL('./frames.md', import.meta.url), 'utf8').split('\n')) {
    const title = line.startsWith('# ') ? line.slice(2) : undefined;
    if (title !== undefined) frames.set(title as Frame, (current = []));
    else if (line !== '') current.push(line);
  }
  for (const name of [...INTENTS, ...OTHER_FRAMES]) if (frames.get(name)?.length === undefined) throw new Error(`frames.md lacks the section "${name}"`);
  return frames;
}

const FRAMES = readFrames();
/** Names that are clauses ("how neural networks are trained") fit only after a verb of telling. */
const CLAUSE = ['Explain {t}.', 'Tell me {t}.', 'Can you explain {t}?', 'I want to know {t}.', 'Please tell me {t}.', '{T}?', 'Do you know {t}?', 'Could you say {t}?', 'Describe {t}.'];

export const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
const isClause = (name: string): boolean => /^(how|why|what|which|the way of) /.test(name);

/** Puts words into a frame; {T} is {t} with a capital, and so for every letter. */
function fill(frame: string, words: Record<string, string>): string {
  return frame.replace(/\{(\w+)\}/g, (whole, key: string) => {
    const small = words[key.toLowerCase()];
    if (words[key] !== undefined) return words[key];
    return small === undefined ? whole : capital(small);
  });
}

/** A name says its own number where it can: "LLMs", "a block table". */
function nameIsPlural(topic: Topic, name: string): boolean {
  if (/^(a|an) /.test(name)) return false;
  if (/(models|caches|weights|parameters|vectors|tables|templates|embeddings|GPUs|LLMs|templates|tokens|kernels|threads|limits)$/.test(name)) return true;
  return topic.plural && !/(tion|ing|y|k|e|a|the \w+)$/.test(name);
}

const number = (plural: boolean): Record<string, string> => ({ is: plural ? 'are' : 'is', does: plural ? 'do' : 'does' });

/** A name of the topic as it may stand inside a sentence. */
export function nameOf(random: Random, topic: Topic): string {
  const usable = topic.names.filter((name) => !isClause(name) && !name.startsWith('to '));
  const name = random.chance(0.5) ? (usable[0] ?? topic.names[0] ?? '') : random.pick(usable.length > 0 ? usable : topic.names);
  return random.chance(0.2) ? name.replace(/^(a|an|the) /, '') : name;
}

export function askAbout(random: Random, topic: Topic, intent: Intent): string {
  const full = random.chance(0.5) ? (topic.names[0] ?? '') : random.pick(topic.names);
  if (full.startsWith('to ')) return `What does it mean ${full}?`;
  if (isClause(full) && !full.includes(' is ')) return fill(random.pick(CLAUSE), { t: full });
  const bare = random.chance(0.18) ? full.replace(/^(a|an|the) /, '') : full;
  return fill(random.pick(FRAMES.get(intent) ?? []), { t: bare, ...number(nameIsPlural(topic, full)) });
}

/** The same frames for a name that is no topic, so that only the name tells what lies outside the field. */
export const askOutside = (random: Random, name: string): string => fill(random.pick(FRAMES.get(random.pick(INTENTS)) ?? []), { t: name, ...number(false) });

/** Asks for the difference of two topics. */
export function askDifference(random: Random, one: Topic, other: Topic): string {
  const [a, b] = [nameOf(random, one), nameOf(random, other)];
  return fill(random.pick(FRAMES.get('compare') ?? []), { a, b, ...number(nameIsPlural(one, a)) });
}

/** Asks what the thing is called that a description tells of. */
export const askTerm = (random: Random, description: string): string => fill(random.pick(FRAMES.get('term') ?? []), { d: description });
/** Asks about a topic by a description instead of its name. */
export const askDescribed = (random: Random, description: string): string => fill(random.pick(FRAMES.get('describe') ?? []), { d: description });
export const askLongForm = (random: Random, short: string): string => fill(random.pick(FRAMES.get('stands') ?? []), { x: short });
export const askShortForm = (random: Random, long: string): string => fill(random.pick(FRAMES.get('abbreviate') ?? []), { l: long });
export const askKeywords = (random: Random, words: string): string => fill(random.pick(FRAMES.get('keywords') ?? []), { k: words });
