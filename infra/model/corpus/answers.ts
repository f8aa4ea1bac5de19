// Owns how a topic's facts become an answer of a given style. Knows nothing of questions or personas.
import type { Random } from './random.ts';
import type { Topic } from './knowledge.ts';
import type { Intent } from './questions.ts';

const STARTS = ['Sure. ', 'Of course. ', 'Good question. ', 'Gladly. ', 'Certainly. '];

const definition = (random: Random, topic: Topic): string => random.pick(topic.definitions);
const bullets = (lines: readonly string[]): string => lines.map((line) => `- ${line}`).join('\n');
const numbered = (lines: readonly string[]): string => lines.map((line, i) => `${i + 1}. ${line}`).join('\n');
const bareName = (topic: Topic): string => topic.names[0] ?? '';

/** Facts keep their order, so that an answer reads as a text; at most one is left out. */
function someFacts(random: Random, topic: Topic, count: number): string[] {
  const spare = topic.facts.length > count && random.chance(0.3) ? random.between(0, topic.facts.length - 1) : -1;
  return topic.facts.filter((_, i) => i !== spare).slice(0, count);
}

function explanation(random: Random, topic: Topic): string {
  const facts = someFacts(random, topic, random.between(3, 5));
  const cut = Math.min(2, facts.length - 1);
  const first = [definition(random, topic), ...facts.slice(0, cut)].join(' ');
  const second = facts.slice(cut).join(' ');
  const end = random.weighted([[4, topic.example], [3, topic.why], [3, '']] as const);
  return [first, second, end].filter((part) => part !== '').join('\n\n');
}

function detail(random: Random, topic: Topic): string {
  const half = Math.ceil(topic.facts.length / 2);
  const parts = [
    `${definition(random, topic)} ${topic.facts.slice(0, half).join(' ')}`,
    topic.facts.slice(half).join(' '),
    topic.why,
    `An example: ${topic.example}`,
  ];
  return parts.filter((part) => part !== '').join('\n\n');
}

function list(random: Random, topic: Topic, count: number): string {
  const lines = [definition(random, topic), ...topic.facts].slice(0, count);
  const head = random.pick([`Here are the main points about ${bareName(topic)}:\n\n`, `The key points about ${bareName(topic)}:\n\n`, '']);
  return head + (random.chance(0.2) ? numbered(lines) : bullets(lines));
}

export function answerAbout(random: Random, topic: Topic, intent: Intent): string {
  const start = random.chance(0.06) && intent !== 'sentence' ? random.pick(STARTS) : '';
  switch (intent) {
    case 'what':
      return start + [definition(random, topic), ...someFacts(random, topic, random.between(1, 3))].join(' ');
    case 'explain':
      return start + explanation(random, topic);
    case 'detail':
      return detail(random, topic);
    case 'sentence':
      return definition(random, topic);
    case 'short':
      return [definition(random, topic), ...topic.facts.slice(0, 1)].join(' ');
    case 'simple':
      return random.pick(['', 'In simple words: ', 'Simply put: ']) + [definition(random, topic), topic.example].join(' ');
    case 'bullets':
      return list(random, topic, 6);
    case 'three':
      return list(random, topic, 3);
    case 'why':
      return random.chance(0.5) ? topic.why : `${definition(random, topic)} ${topic.why}`;
    case 'purpose':
      return random.chance(0.25) ? topic.why : `${definition(random, topic)} ${topic.why}`;
    case 'example':
      return random.chance(0.5) ? topic.example : `Here is an example. ${topic.example}`;
  }
}

/** Answers "what is it called?": the name, then what it means. */
export function termAnswer(random: Random, topic: Topic): string {
  const name = bareName(topic).replace(/^(a|an|the) /, '');
  return random.pick([`That is called ${name}. `, `It is called ${name}. `, `The term is ${name}. `, `You mean ${name}. `, '']) + definition(random, topic);
}

export function longFormAnswer(random: Random, topic: Topic, [short, long]: readonly [string, string]): string {
  return `${short} ${random.pick(['stands for', 'is short for', 'stands for'])} ${long}. ${definition(random, topic)}`;
}

/** Both topics in turn: what each of them is shows the difference. */
export function differenceAnswer(random: Random, [one, other]: readonly [Topic, Topic], askedForSame: boolean): string {
  const start = askedForSame ? 'No, they are not the same. ' : '';
  const end = random.chance(0.3) ? ` ${one.why} ${other.why}` : '';
  return `${start}${definition(random, one)} ${definition(random, other)}${end}`;
}

/** A plain article, for models asked to continue text without a chat. */
export function article(random: Random, topic: Topic): string {
  const name = bareName(topic);
  const title = `${name.charAt(0).toUpperCase()}${name.slice(1)}`;
  const head = random.pick([`# ${title}\n\n`, `${title}\n\n`, '']);
  return head + detail(random, topic);
}
