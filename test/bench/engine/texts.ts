/** Real texts to draft on: source files of this repository with an edit asked for, records to extract, words without repeats. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { madeUpName, readList } from '../../../infra/model/corpus/lists.ts';
import { Random } from '../../../infra/model/corpus/random.ts';
import { WORDS } from '../prompts.ts';

export interface TextTask {
  readonly prompt: string;
  readonly answer: string;
}

const SOURCE = fileURLToPath(new URL('../../../gpu-worker', import.meta.url));
/** Words of the language, which nobody renames. */
const KEYWORDS = new Set(
  'const return readonly export import number string function interface private static class extends'.split(' '),
);
/** A file that is longer in bytes serves as well as one that is just long enough, so the choice lasts. */
const SPARE = 1.2;

/** `count` different files, their first `chars` characters; one name in each is to be another. */
export function editTasks(count: number, chars: number): readonly TextTask[] {
  const files = readdirSync(SOURCE, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
  const texts = files.toSorted().map((file) => readFileSync(join(SOURCE, file), 'utf8'));
  const long = texts.filter((text) => text.length > SPARE * chars).slice(0, count);
  if (long.length < count) throw new Error(`only ${long.length} source files are as long as ${chars} characters`);
  return long.map((text) => {
    const code = text.slice(0, chars);
    const name = commonestName(code);
    const other = `next${name.charAt(0).toUpperCase()}${name.slice(1)}`;
    const prompt = `Rename \`${name}\` to \`${other}\` in this file. Answer with the whole file.\n\n${code}\n\n`;
    return { prompt, answer: code.replaceAll(name, other) };
  });
}

function commonestName(code: string): string {
  const counts = new Map<string, number>();
  for (const [name] of code.matchAll(/\b[a-z][A-Za-z]{4,}\b/g)) {
    if (!KEYWORDS.has(name)) counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  const [first] = [...counts].toSorted(([, a], [, b]) => b - a);
  if (first === undefined) throw new Error('a source file without names');
  return first[0];
}

/** `count` lists of `records` people, to be written as JSON. */
export function extractionTasks(count: number, records: number): readonly TextTask[] {
  const random = new Random(7);
  const [names, cities] = [readList('first-names'), readList('cities')];
  return Array.from({ length: count }, () => {
    const people = Array.from({ length: records }, () => {
      const name = `${random.pick(names)} ${madeUpName(random)}`;
      return { name, city: random.pick(cities), number: `${random.between(100, 999)}-${random.between(1000, 9999)}` };
    });
    const text = people.map((each) => `${each.name} lives in ${each.city} and has the number ${each.number}.`);
    const json = people.map((each) => `  ${JSON.stringify(each).replaceAll('":', '": ').replaceAll(',"', ', "')}`);
    const prompt = `Extract name, city and number of everybody as a JSON array.\n\n${text.join('\n')}\n\n`;
    return { prompt, answer: `[\n${json.join(',\n')}\n]` };
  });
}

/** [count] tokens of shuffled words in which no three tokens in a row come twice: prompt lookup finds nothing. */
export function plainIds(key: number, count: number, encode: (text: string) => readonly number[]): Int32Array {
  const random = new Random(key);
  const ids: number[] = [];
  const seen = new Set<string>();
  for (let tries = 0; ids.length < count; tries++) {
    if (tries > 100 * count) throw new Error(`no ${count} tokens without repeats from so few words`);
    const word = encode(` ${random.pick(WORDS)}`);
    const next = [...ids.slice(-2), ...word];
    const grams = next.slice(2).map((_, i) => next.slice(i, i + 3).join());
    if (new Set(grams).size < grams.length || grams.some((gram) => seen.has(gram))) continue;
    for (const gram of grams) seen.add(gram);
    ids.push(...word);
  }
  return Int32Array.from(ids.slice(0, count));
}
