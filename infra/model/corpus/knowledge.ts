// Owns reading the knowledge files into topics. Knows nothing of how questions or answers are worded.
import { readdirSync, readFileSync } from 'node:fs';

export interface Specific {
  readonly questions: readonly string[];
  readonly answer: string;
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

function checkTopic({ questions: _questions, ...topic }: Draft): Topic {
  const complete = topic.definitions.length > 0 && topic.facts.length > 1 && topic.why !== '' && topic.example !== '';
  if (!complete) throw new Error(`knowledge file: topic "${topic.names[0]}" needs =, two facts, why: and ex:`);
  return topic;
}

export function parseTopics(text: string): Topic[] {
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
  return drafts.map(checkTopic);
}

export function readTopics(): Topic[] {
  const folder = new URL('./knowledge/', import.meta.url);
  const files = readdirSync(folder)
    .filter((name) => name.endsWith('.md'))
    .sort();
  return files.flatMap((name) => parseTopics(readFileSync(new URL(name, folder), 'utf8')));
}
