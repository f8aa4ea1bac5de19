// Owns reading the knowledge files, and the wordings beside them, into topics. Knows nothing of how answers are put together.
import { readdirSync, readFileSync } from 'node:fs';
import { isUnseenWording } from './example.ts';

export interface Specific {
  readonly questions: readonly string[];
  readonly answer: string;
}
/** One sentence, or one ready answer, of a topic. */
export interface Part {
  readonly kind: 'definition' | 'fact' | 'why' | 'example' | 'specific';
  readonly text: string;
}
/** Questions that people ask for one part of a topic. */
export interface Wording {
  readonly questions: readonly string[];
  readonly part: Part;
}
export interface Topic {
  /** Names as they stand in a question, the main one first. */
  readonly names: readonly string[];
  readonly plural: boolean;
  readonly definitions: readonly string[];
  readonly facts: readonly string[];
  readonly why: string;
  readonly example: string;
  readonly specifics: readonly Specific[];
  readonly parts: readonly Part[];
  /** Noun phrases that mean the topic without its name. */
  readonly descriptions: readonly string[];
  readonly wordings: readonly Wording[];
  /** Written questions that no training example may use; they measure how well new wordings are understood. */
  readonly unseen: readonly string[];
  /** Short form and long form, where the name has both. */
  readonly abbreviations: readonly (readonly [short: string, long: string])[];
}

interface Draft {
  names: string[];
  plural: boolean;
  definitions: string[];
  facts: string[];
  why: string;
  example: string;
  specifics: Specific[];
  questions: string[];
}

const split = (text: string, by: string): string[] => text.split(by).map((part) => part.trim());
const withoutArticle = (name: string): string => name.replace(/^(a|an|the) /, '');

function startTopic(line: string): Draft {
  const title = line.slice(2).trim();
  const plural = title.startsWith('*');
  const names = split(plural ? title.slice(1) : title, '|');
  return { names, plural, definitions: [], facts: [], why: '', example: '', specifics: [], questions: [] };
}

function addLine(draft: Draft, line: string): void {
  if (line.startsWith('= ')) draft.definitions.push(line.slice(2));
  else if (line.startsWith('- ')) draft.facts.push(line.slice(2));
  else if (line.startsWith('why: ')) draft.why = line.slice(5);
  else if (line.startsWith('ex: ')) draft.example = line.slice(4);
  else if (line.startsWith('? ')) draft.questions = split(line.slice(2), '||');
  else if (line.startsWith('> ')) draft.specifics.push({ questions: draft.questions, answer: line.slice(2) });
  else throw new Error(`knowledge file: a line must start with one of "= - why: ex: ? >": ${line}`);
}

/** Pairs such as TTFT and time to first token: the letters are the first letters of the words. */
function abbreviationsOf(names: readonly string[]): [string, string][] {
  const bare = names.map(withoutArticle);
  const shorts = bare.filter((name) => /^[A-Z][A-Za-z]{1,5}$/.test(name) && /[A-Z].*[A-Z]/.test(name));
  return shorts.flatMap((short) => {
    const letters = short.toLowerCase();
    const long = bare.find((name) => name.includes(' ') || name.includes('-') ? split(name.replaceAll('-', ' '), ' ').map((word) => word.charAt(0).toLowerCase()).join('') === letters : false);
    return long === undefined ? [] : [[short, long] as [string, string]];
  });
}

function finishTopic({ questions: _questions, ...draft }: Draft): Topic {
  const complete = draft.definitions.length > 0 && draft.facts.length > 1 && draft.why !== '' && draft.example !== '';
  if (!complete) throw new Error(`knowledge file: topic "${draft.names[0]}" needs =, two facts, why: and ex:`);
  const part = (kind: Part['kind']) => (text: string): Part => ({ kind, text });
  const parts = [...draft.definitions.map(part('definition')), ...draft.facts.map(part('fact')), part('why')(draft.why), part('example')(draft.example), ...draft.specifics.map(({ answer }) => part('specific')(answer))];
  return { ...draft, parts, descriptions: [], wordings: [], unseen: [], abbreviations: abbreviationsOf(draft.names) };
}

function parseTopics(text: string): Topic[] {
  const drafts: Draft[] = [];
  for (const line of text.split('\n').map((raw) => raw.trim())) {
    if (line === '') continue;
    if (line.startsWith('# ')) drafts.push(startTopic(line));
    else {
      const last = drafts.at(-1);
      if (last === undefined) throw new Error(`knowledge file: line before the first topic: ${line}`);
      addLine(last, line);
    }
  }
  return drafts.map(finishTopic);
}

/** "=" asks for a definition, a number for that fact, "why" and "ex" for themselves. */
function partCalled(topic: Topic, mark: string): Part {
  const fact = topic.facts[Number(mark) - 1];
  if (fact !== undefined) return { kind: 'fact', text: fact };
  if (mark === '=') return { kind: 'definition', text: topic.definitions[0] ?? '' };
  if (mark === 'why') return { kind: 'why', text: topic.why };
  if (mark === 'ex') return { kind: 'example', text: topic.example };
  throw new Error(`wordings: topic "${topic.names[0]}" has no part "${mark}"`);
}

const parted = (questions: readonly string[]): [unseen: string[], seen: string[]] => [questions.filter(isUnseenWording), questions.filter((question) => !isUnseenWording(question))];

function addWording(topic: Topic, line: string): Topic {
  const [mark = '', ...words] = line.split(' ');
  const rest = words.join(' ');
  if (mark === '~') return { ...topic, descriptions: [...topic.descriptions, ...split(rest, '||')] };
  if (mark === 'abbr') return { ...topic, abbreviations: [...topic.abbreviations, split(rest, '=') as [string, string]] };
  const [unseen, questions] = parted(split(rest, '||'));
  const wordings = questions.length > 0 ? [...topic.wordings, { questions, part: partCalled(topic, mark) }] : topic.wordings;
  return { ...topic, wordings, unseen: [...topic.unseen, ...unseen] };
}

function addWordings(topics: Topic[], text: string): void {
  let at = -1;
  for (const line of text.split('\n').map((raw) => raw.trim())) {
    if (line === '') continue;
    if (line.startsWith('# ')) {
      at = topics.findIndex(({ names }) => names[0] === line.slice(2));
      if (at < 0) throw new Error(`wordings: no topic has the main name "${line.slice(2)}"`);
    } else {
      const topic = topics[at];
      if (topic === undefined) throw new Error(`wordings: line before the first topic: ${line}`);
      topics[at] = addWording(topic, line);
    }
  }
}

function texts(folder: string): string[] {
  const place = new URL(`./${folder}/`, import.meta.url);
  const files = readdirSync(place).filter((name) => name.endsWith('.md'));
  return files.sort().map((name) => readFileSync(new URL(name, place), 'utf8'));
}

export function readTopics(): Topic[] {
  const topics = texts('knowledge').flatMap(parseTopics);
  for (const text of texts('wordings')) addWordings(topics, text);
  return topics;
}
