// Owns conversations of several turns: follow-ups on a topic, changes of topic, recall of earlier turns. Knows no facts itself.
import type { Random } from './random.ts';
import { type Example, type Message, assistant, system, user } from './example.ts';
import type { Topic } from './knowledge.ts';
import { askAbout } from './questions.ts';
import { loose } from './typing.ts';
import { answerAbout } from './answers.ts';
import { DEFAULT_SYSTEMS, questionAndAnswer } from './field.ts';
import { smalltalkPair } from './smalltalk.ts';
import { declineAnswer, outsideQuestion } from './refusal.ts';
import { copying, lookup } from './extract.ts';
import { arithmetic } from './arithmetic.ts';
import { story } from './story.ts';

type Turn = readonly [question: string, answer: string];

const MORE = ['Tell me more.', 'More, please.', 'Go on.', 'Can you say more?', 'Tell me more about it.', 'What else?', 'Continue.', 'More details, please.', 'Anything else I should know?'];
const SHORTER = ['Shorter, please.', 'Can you say that in one sentence?', 'In one sentence?', 'Summarize that.', 'Too long. Say it shorter.', 'And in a single sentence?', 'tl;dr?'];
const LIST = ['Give me bullet points.', 'As a list, please.', 'Can you make a list of it?', 'Put that into bullet points.', 'List the main points.'];
const WHY = ['Why does it matter?', 'Why is that important?', 'Why is this useful?', 'Why?', 'What is it good for?', 'So why should I care?'];
const EXAMPLE = ['Give me an example.', 'Can you give an example?', 'An example, please.', 'For example?', 'Do you have an example?', 'Can you illustrate that?'];
const SIMPLER = ['Can you explain it more simply?', 'I do not understand. Simpler, please.', 'Say it in simple words.', 'Explain it like I am five.', 'Simpler?'];

function followUp(random: Random, topic: Topic): Turn {
  return random.pick<() => Turn>([
    () => [random.pick(MORE), topic.facts.slice(random.between(1, 2)).join(' ')],
    () => [random.pick(MORE), topic.facts.slice(2).join(' ') || topic.why],
    () => [random.pick(SHORTER), answerAbout(random, topic, 'sentence')],
    () => [random.pick(LIST), [random.pick(topic.definitions), ...topic.facts].map((line) => `- ${line}`).join('\n')],
    () => [random.pick(WHY), topic.why],
    () => [random.pick(EXAMPLE), topic.example],
    () => [random.pick(SIMPLER), `In simple words: ${random.pick(topic.definitions)} ${topic.example}`],
  ])();
}

function topicTurns(random: Random, topic: Topic, topics: readonly Topic[]): Turn[] {
  const turns: Turn[] = [random.chance(0.5) ? ([askAbout(random, topic, 'what'), answerAbout(random, topic, 'what')] as const) : questionAndAnswer(random, topic, topics)];
  const wanted = random.between(0, 3);
  const asked = new Set<string>();
  while (asked.size < wanted) {
    const turn = followUp(random, topic);
    const fresh = !turns.some(([, answer]) => answer === turn[1]);
    asked.add(turn[0]);
    if (fresh) turns.push(turn);
  }
  return turns;
}

function between(random: Random): Turn {
  if (random.chance(0.6)) return smalltalkPair(random);
  const [question, domain] = outsideQuestion(random);
  return [question, declineAnswer(random, domain)];
}

function recall(random: Random, turns: readonly Turn[]): Turn {
  const [first] = turns;
  const last = turns.at(-1);
  return random.pick<Turn>([
    ['What was my first question?', `Your first question was: "${first?.[0] ?? ''}"`],
    ['What did I ask before this?', `You asked: "${last?.[0] ?? ''}"`],
    ['Repeat your last answer.', last?.[1] ?? ''],
    ['Can you repeat that?', last?.[1] ?? ''],
  ]);
}

const asMessages = (turns: readonly Turn[]): Message[] => turns.flatMap(([question, answer]) => [user(question), assistant(answer)]);

export function dialogue(random: Random, topics: readonly Topic[]): Example {
  const turns: Turn[] = random.chance(0.2) ? [smalltalkPair(random)] : [];
  for (let left = random.weighted([[6, 1], [3, 2], [1, 3]] as const); left > 0; left--) {
    turns.push(...topicTurns(random, random.pick(topics), topics));
    if (random.chance(0.2)) turns.push(between(random));
  }
  if (random.chance(0.12)) turns.push(recall(random, turns));
  const noisy = turns.map(([question, answer]) => [random.chance(0.5) ? question : loose(random, question), answer] as const);
  const noisyIsSafe = turns.some(([, answer]) => answer.startsWith('Your first question') || answer.startsWith('You asked'));
  const messages = asMessages(noisyIsSafe ? turns : noisy);
  return { kind: 'dialogue', messages: random.chance(0.35) ? [system(random.pick(DEFAULT_SYSTEMS)), ...messages] : messages };
}

/** Long chats of many kinds, so that far positions are trained too; about a thousand tokens and more. */
export function longDialogue(random: Random, topics: readonly Topic[]): Example {
  const messages: Message[] = [];
  const wanted = random.weighted([[5, 4000], [3, 7000], [1, 12000]] as const);
  const length = (): number => messages.reduce((sum, message) => sum + message.content.length, 0);
  while (length() < wanted) {
    const part = random.weighted([[7, () => dialogue(random, topics)], [1, () => copying(random)], [1, () => arithmetic(random)], [1, () => story(random)], [1, () => lookup(random, random.between(5, 25))]] as const)();
    if ('messages' in part) messages.push(...part.messages.filter((message) => message.role !== 'system'));
  }
  const rule = random.chance(0.4) ? [system(random.pick(DEFAULT_SYSTEMS))] : [];
  return { kind: 'long', messages: [...rule, ...messages] };
}

/** A long system prompt of facts, then questions that the facts or the memory answer. */
export function longSystem(random: Random, topics: readonly Topic[]): Example {
  if (random.chance(0.4)) return lookup(random, random.between(15, 60));
  const chosen = random.sample(topics, random.between(4, 14));
  const handbook = chosen.map((topic) => [topic.definitions[0] ?? '', ...topic.facts].join(' ')).join('\n\n');
  const turns = random.sample(chosen, random.between(1, 3)).flatMap((topic) => topicTurns(random, topic, topics));
  return { kind: 'long', messages: [system(`You are a helpful assistant. Here is a handbook.\n\n${handbook}`), ...asMessages(turns)] };
}
