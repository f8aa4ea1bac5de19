// Owns the mixture of the corpus and its split; writes train.jsonl, heldout.jsonl and unseen.jsonl. Knows nothing of tokens or training.
import { createWriteStream, mkdirSync, writeFileSync } from 'node:fs';
import { finished } from 'node:stream/promises';
import { parseArgs } from 'node:util';
import { Random } from './random.ts';
import { type Example, exampleIsHeldOut, normalizeQuestion } from './example.ts';
import { type Topic, readTopics } from './knowledge.ts';
import { plainText, ruled, single, summary, voiced } from './field.ts';
import { dialogue, longDialogue, longSystem } from './dialogue.ts';
import { poem, story } from './story.ts';
import { arithmetic } from './arithmetic.ts';
import { copying } from './extract.ts';
import { edit } from './edit.ts';
import { refusal } from './refusal.ts';
import { smalltalk } from './smalltalk.ts';
import { exampleIsNearRubric } from './rubric.ts';

type Maker = (random: Random, topics: readonly Topic[]) => Example;

/** Shares by number of examples, in percent. */
const MIXTURE: readonly (readonly [number, Maker])[] = [
  [40, (random, topics) => single(random, random.pick(topics), topics)],
  [6, (random, topics) => ruled(random, random.pick(topics))],
  [9, voiced],
  [11, dialogue],
  [2, longDialogue],
  [1.2, longSystem],
  [2, (random, topics) => summary(random, random.pick(topics))],
  [1.5, (random, topics) => plainText(random, random.pick(topics))],
  [8, refusal],
  [5, smalltalk],
  [4.5, story],
  [0.8, poem],
  [5, arithmetic],
  [5, copying],
  [4, edit],
];

/** Held-out text stays small enough to be committed. */
const HELD_OUT_BYTES = 280_000;

const { values } = parseArgs({ options: { out: { type: 'string' }, count: { type: 'string' }, seed: { type: 'string' } } });
const out = values.out ?? 'infra/model/build';
const count = Number(values.count ?? 450_000);
const random = new Random(Number(values.seed ?? 1));
const topics = readTopics();

mkdirSync(out, { recursive: true });
const train = createWriteStream(`${out}/train.jsonl`);
const heldOut: string[] = [];
let heldOutBytes = 0;
let dropped = 0;
const kinds = new Map<string, number>();
/** Written questions kept out of training, and those of them that a frame made all the same. */
const kept = new Set(topics.flatMap(({ unseen: questions }) => questions.map(normalizeQuestion)));
const met = new Set<string>();
for (let made = 0; made < count; ) {
  const example = random.weighted(MIXTURE)(random, topics);
  if (exampleIsNearRubric(example)) {
    dropped++;
    continue;
  }
  const line = `${JSON.stringify(example)}\n`;
  if (exampleIsHeldOut(example)) {
    // One long chat would crowd out a hundred questions.
    if (line.length < 4000 && heldOutBytes + line.length < HELD_OUT_BYTES) {
      heldOut.push(line);
      heldOutBytes += line.length;
    }
    continue;
  }
  for (const { role, content } of 'messages' in example ? example.messages : []) {
    if (role === 'user' && content.length < 200 && kept.has(normalizeQuestion(content))) met.add(normalizeQuestion(content));
  }
  kinds.set(example.kind, (kinds.get(example.kind) ?? 0) + line.length);
  if (!train.write(line)) await new Promise<void>((resolve) => train.once('drain', () => resolve()));
  made++;
}
train.end();
await finished(train);
writeFileSync(`${out}/heldout.jsonl`, heldOut.join(''));
const unseen = topics.flatMap(({ names, unseen: questions, parts }) => questions.filter((question) => !met.has(normalizeQuestion(question))).map((question) => ({ question, topic: names[0], sentences: parts.map(({ text }) => text) })));
writeFileSync(`${out}/unseen.jsonl`, unseen.map((entry) => `${JSON.stringify(entry)}\n`).join(''));
console.log(`${topics.length} topics, ${count} training examples, ${heldOut.length} held out, ${unseen.length} written questions unseen, ${dropped} dropped because they are near a question of the rubric; bytes by kind:`);
console.log(Object.fromEntries([...kinds].sort((a, b) => b[1] - a[1])));
