// Owns examples about the field: one question with style, rule, role or summary. Knows topics only through their facts.
import type { Random } from './random.ts';
import { type Example, assistant, system, user } from './example.ts';
import type { Topic } from './knowledge.ts';
import { type Intent, askAbout, askDescribed, askDifference, askLongForm, askShortForm, askTerm } from './questions.ts';
import { answerAbout, article, differenceAnswer, longFormAnswer, termAnswer } from './answers.ts';
import { answerWith, askPart, byKeywords } from './sentences.ts';
import { descriptionsOf } from './descriptions.ts';
import { loose } from './typing.ts';
import { fixedTextVoice, roleInQuestion, roleVoice } from './persona.ts';
import { storyAbout } from './story.ts';
import { declineAnswer, outsideQuestion } from './refusal.ts';
import { smalltalkPair } from './smalltalk.ts';
import { readList } from './lists.ts';

const INTENTS: readonly (readonly [number, Intent])[] = [[24, 'what'], [26, 'explain'], [5, 'detail'], [6, 'sentence'], [6, 'short'], [5, 'simple'], [4, 'bullets'], [3, 'three'], [7, 'why'], [10, 'purpose'], [4, 'example']];
const HEROES = readList('heroes');

export const DEFAULT_SYSTEMS = ['You are a helpful assistant.', 'You are a helpful AI assistant.', 'You are Millrace, a helpful assistant.', 'You are a friendly assistant.', 'Be helpful and concise.',
  'You are an expert on language models and how they are served. Answer clearly.', 'Answer the questions of the user.', 'You are a knowledgeable assistant. If you do not know something, say so.'] as const;

const RULES: readonly (readonly [Intent, readonly string[]])[] = [
  ['sentence', ['Answer in one sentence.', 'You are an assistant that answers in a single sentence.', 'Keep every answer to one sentence.', 'Reply with exactly one sentence.', 'One sentence per answer, please.', 'You are a polite assistant who answers in one sentence.']],
  ['short', ['Answer briefly.', 'Keep your answers short.', 'Be concise: at most two sentences.', 'You give short answers.', 'Answer in two sentences.']],
  ['detail', ['Give long and detailed answers.', 'Answer in detail, with an example.', 'You are a thorough teacher. Explain everything in depth.', 'Write long answers with several paragraphs.']],
  ['bullets', ['Answer in bullet points.', 'Use bullet points for every answer.', 'Format your answers as lists.', 'You always answer with a list of points.', 'Reply with bullets only.']],
  ['simple', ['Explain things simply, for beginners.', 'You explain things to children.', 'Use simple words and give examples.', 'Avoid jargon.']],
];

type Turn = readonly [question: string, answer: string];

const byIntent = (random: Random, topic: Topic): Turn => {
  const intent = random.weighted(INTENTS);
  return [askAbout(random, topic, intent), answerAbout(random, topic, intent)];
};

/** Questions written by hand for one part of the topic. */
function byWording(random: Random, topic: Topic): Turn | undefined {
  const ready = topic.specifics.map(({ questions, answer }): readonly [readonly string[], string] => [questions, answer]);
  const worded = topic.wordings.map(({ questions, part }): readonly [readonly string[], string] => [questions, answerWith(random, topic, part)]);
  const all = [...ready, ...worded];
  if (all.length === 0) return undefined;
  const [questions, answer] = random.pick(all);
  return [random.pick(questions), answer];
}

/** The topic stands in the question only by a description of it. */
function byDescription(random: Random, topic: Topic): Turn | undefined {
  const all = descriptionsOf(topic);
  if (all.length === 0) return undefined;
  const description = random.pick(all);
  if (random.chance(0.5)) return [askTerm(random, description), termAnswer(random, topic)];
  return [askDescribed(random, description), answerAbout(random, topic, random.pick(['what', 'explain'] as const))];
}

function byAbbreviation(random: Random, topic: Topic): Turn | undefined {
  if (topic.abbreviations.length === 0) return undefined;
  const [short, long] = random.pick(topic.abbreviations);
  return [random.chance(0.75) ? askLongForm(random, short) : askShortForm(random, long), longFormAnswer(random, topic, [short, long])];
}

/** Compares with a neighbour in the knowledge files, where related topics stand together, or with any topic. */
function byDifference(random: Random, topic: Topic, topics: readonly Topic[]): Turn | undefined {
  const near = topics[topics.indexOf(topic) + random.pick([-3, -2, -1, 1, 2, 3])];
  const other = near !== undefined && random.chance(0.75) ? near : random.pick(topics);
  if (other === topic) return undefined;
  const question = askDifference(random, topic, other);
  return [question, differenceAnswer(random, [topic, other], / same/.test(question))];
}

/** One question about the topic, of any kind, and its answer. */
export function questionAndAnswer(random: Random, topic: Topic, topics: readonly Topic[]): Turn {
  const ask = random.weighted<() => Turn | undefined>([
    [30, () => byIntent(random, topic)],
    [22, () => byWording(random, topic)],
    [20, () => askPart(random, topic, random.pick(topic.parts))],
    [9, () => byKeywords(random, topic, random.pick(topic.parts))],
    [9, () => byDescription(random, topic)],
    [5, () => byDifference(random, topic, topics)],
    [5, () => byAbbreviation(random, topic)],
  ]);
  return ask() ?? byIntent(random, topic);
}

export function single(random: Random, topic: Topic, topics: readonly Topic[]): Example {
  const [question, answer] = questionAndAnswer(random, topic, topics);
  const messages = [user(loose(random, question)), assistant(answer)];
  return { kind: 'field', messages: random.chance(0.3) ? [system(random.pick(DEFAULT_SYSTEMS)), ...messages] : messages };
}

/** The system prompt sets the form of the answer. */
export function ruled(random: Random, topic: Topic): Example {
  const [intent, rules] = random.pick(RULES);
  const asked = askAbout(random, topic, random.pick(['what', 'explain'] as const));
  return { kind: 'ruled', messages: [system(random.pick(rules)), user(loose(random, asked)), assistant(answerAbout(random, topic, intent))] };
}

function anyAnswer(random: Random, topic: Topic): readonly [string, string] {
  const shape = random.next();
  if (shape < 0.62) {
    const intent = random.pick(['what', 'explain', 'sentence', 'short', 'short', 'what'] as const);
    return [askAbout(random, topic, intent), answerAbout(random, topic, intent)];
  }
  if (shape < 0.72) {
    const hero = random.pick(HEROES);
    return [`Tell me a short story about ${hero}.`, storyAbout(random, hero)];
  }
  if (shape < 0.82) {
    const [question, domain] = outsideQuestion(random);
    return [question, declineAnswer(random, domain)];
  }
  return smalltalkPair(random);
}

/** A role or a fixed text over one or two turns. */
export function voiced(random: Random, topics: readonly Topic[]): Example {
  if (random.chance(0.15)) {
    const topic = random.pick(topics);
    const voice = roleInQuestion(random, askAbout(random, topic, 'what'));
    return { kind: 'voiced', messages: [user(voice.prompt), assistant(voice.speak(answerAbout(random, topic, 'short')))] };
  }
  const maker = random.chance(0.7) ? roleVoice : fixedTextVoice;
  const voice = maker(random);
  const turns = Array.from({ length: random.weighted([[3, 1], [1, 2]] as const) }, () => {
    const [question, answer] = anyAnswer(random, random.pick(topics));
    return [user(loose(random, question)), assistant(voice.speak(answer))];
  });
  return { kind: 'voiced', messages: [system(voice.prompt), ...turns.flat()] };
}

/** The facts stand in the prompt and have to be shortened, or used to answer. */
export function summary(random: Random, topic: Topic): Example {
  const definition = random.pick(topic.definitions);
  const facts = random.sample(topic.facts, random.between(2, topic.facts.length));
  const text = [definition, ...facts].join(' ');
  const name = topic.names[0] ?? '';
  const [ask, answer] = random.pick([
    [`Summarize this text in one sentence:\n\n${text}`, definition],
    [`${text}\n\nSummarize the text above.`, definition],
    [`What is this text about? ${text}`, `The text is about ${name}.`],
    [`Turn this text into bullet points:\n\n${text}`, [definition, ...facts].map((line) => `- ${line}`).join('\n')],
    [`Give the text a title: ${text}`, name.charAt(0).toUpperCase() + name.slice(1)],
    [`Use only this text to say why it matters.\n\n${text} ${topic.why}`, topic.why],
  ] as const);
  return { kind: 'summary', messages: [user(ask), assistant(answer)] };
}

export function plainText(random: Random, topic: Topic): Example {
  return { kind: 'text', text: article(random, topic) };
}
