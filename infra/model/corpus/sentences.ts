// Owns questions made from one sentence of an answer, and the answer that holds it. Knows topics only through their sentences.
import type { Random } from './random.ts';
import type { Part, Topic } from './knowledge.ts';
import { type Clause, baseForm, clauseOf, contentWords, helper, isAuxiliary } from './grammar.ts';
import { askKeywords, capital, nameOf } from './questions.ts';
import { readList } from './lists.ts';

type Pair = readonly [question: string, answer: string];

const PRONOUN = /^(It|They|Its|Their|These|This|Both|Each|The method|The idea|Without it|With it|Because of it)\b/;
const OPPOSITES = readList('opposites').map((line) => line.split('|') as [string, string]);

/** The sentence with what it needs to stand alone: a leading pronoun gets the definition in front of it, or the name in its place. */
export function answerWith(random: Random, topic: Topic, part: Part): string {
  const definition = random.pick(topic.definitions);
  const { text } = part;
  if (part.kind === 'definition') return random.chance(0.5) ? text : `${text} ${random.pick(topic.facts)}`;
  if (part.kind === 'specific') return text;
  if (PRONOUN.test(text)) {
    const name = topic.names[0] ?? '';
    const named = text.replace(/^(It|They) /, `${capital(name)} `);
    return named !== text && random.chance(0.3) ? named : `${definition} ${text}`;
  }
  const next = topic.facts[topic.facts.indexOf(text) + 1];
  if (part.kind === 'fact' && next !== undefined && random.chance(0.2)) return `${text} ${next}`;
  // A fact that does not name its topic needs the definition more often.
  const named = topic.names.some((name) => text.toLowerCase().includes(name.toLowerCase().replace(/^(a|an|the) /, '')));
  return random.chance(named ? 0.3 : 0.6) ? `${definition} ${text}` : text;
}

/** Content words of the sentence, some lost, sometimes out of order, with the topic's name or without. */
export function keywordsOf(random: Random, topic: Topic, part: Part): string {
  const words = contentWords(part.text);
  const least = Math.min(words.length, part.kind === 'definition' ? 3 : 2);
  const wanted = random.between(least, Math.min(words.length, 8));
  const start = random.chance(0.6) ? 0 : random.between(0, words.length - wanted);
  const chosen = random.chance(0.5) ? words.slice(start, start + wanted) : words.filter((_, i) => random.sample([...words.keys()], wanted).includes(i));
  const ordered = random.chance(0.3) ? random.shuffle(chosen) : chosen;
  const name = contentWords(nameOf(random, topic)).join(' ');
  const named = random.chance(0.65) && !ordered.join(' ').toLowerCase().includes(name.toLowerCase());
  const all = named ? random.pick([[name, ...ordered], [...ordered, name]]) : ordered;
  return random.chance(0.3) ? all.join(' ').toLowerCase() : all.join(' ');
}

/** A part is asked for by words of it. */
export function byKeywords(random: Random, topic: Topic, part: Part): Pair {
  return [askKeywords(random, keywordsOf(random, topic, part)), answerWith(random, topic, part)];
}

const firstSentence = (text: string): string => /^.*?[.!?](?= [A-Z]|$)/.exec(text)?.[0] ?? text;
const bare = (text: string): string => text.replace(/[.!?]$/, '');
const small = (text: string): string => (/^(A|An|The|Each|Every|All|Some|Most|Many|It|They|In|With|One|Both) /.test(text) ? text.charAt(0).toLowerCase() + text.slice(1) : text);

function statementAsQuestion({ subject, verb, rest }: Clause): string {
  return isAuxiliary(verb) ? `${capital(verb)} ${small(subject)} ${rest}?` : `${capital(helper(verb))} ${small(subject)} ${baseForm(verb)} ${rest}?`;
}

/** The same sentence with one word turned into its opposite, if there is one. */
function turnedAround(random: Random, sentence: string): string | undefined {
  const words = sentence.split(' ');
  const places = words.flatMap((word, at) => OPPOSITES.flatMap(([one, other]) => (word === one ? [[at, other] as const] : word === other ? [[at, one] as const] : [])));
  if (places.length === 0) return undefined;
  const [at, other] = random.pick(places);
  return words.with(at, other).join(' ');
}

function yesOrNo(random: Random, named: string, answer: string): Pair | undefined {
  const false_ = random.chance(0.5) ? turnedAround(random, named) : undefined;
  const claim = false_ ?? named;
  const reply = `${false_ === undefined ? 'Yes' : 'No'}. ${answer}`;
  const clause = clauseOf(claim);
  if (clause !== undefined && random.chance(0.7)) return [statementAsQuestion(clause), reply];
  return [random.pick(['Is it true that {c}?', 'Is it right that {c}?', 'Can one say that {c}?', '{C}, right?', 'True or false: {c}?', 'Am I right that {c}?']).replace('{c}', small(bare(claim))).replace('{C}', bare(claim)), reply];
}

function aboutClause(random: Random, { subject, verb, rest }: Clause): string {
  const [s, does, base] = [small(subject), helper(verb), baseForm(verb)];
  const asObject = isAuxiliary(verb) ? `What can you say about ${s}?` : `What ${does} ${s} ${base}?`;
  const start = rest.split(' ').slice(0, 3).join(' ');
  return random.pick([
    `What ${verb} ${rest}?`, `What ${verb} ${rest}?`, `Which thing ${verb} ${rest}?`, `What is it that ${verb} ${rest}?`, `Who or what ${verb} ${rest}?`,
    asObject, isAuxiliary(verb) ? `What ${verb} ${s}?` : `What exactly ${does} ${s} ${base}?`,
    isAuxiliary(verb) ? `How ${verb} ${s} ${rest}?` : `How ${does} ${s} ${base} ${rest}?`, isAuxiliary(verb) ? `Tell me what ${s} ${verb}.` : `Say what ${s} ${verb}.`,
    `Tell me how ${s} ${verb} ${rest}.`, `${subject} ${verb} ${start} ...?`, `Complete this: ${subject} ${verb} ...`, `What do you know about ${s} and ${rest}?`,
  ]);
}

/** Questions that the connecting word of a sentence invites: why, what if, what without. */
function byConnection(random: Random, sentence: string): string | undefined {
  const because = /^(.*?),? (?:because|since) (.*)[.]$/.exec(sentence) ?? /^(.*?), so(?: that)? (.*)[.]$/.exec(sentence);
  if (because !== null) {
    const claim = because[1] ?? '';
    const clause = clauseOf(`${claim}.`);
    if (clause === undefined) return random.pick(['Why is it that {c}?', 'How come {c}?', 'What is the reason that {c}?']).replace('{c}', small(claim));
    const asked = statementAsQuestion(clause);
    return random.pick([`Why ${asked.charAt(0).toLowerCase()}${asked.slice(1)}`, `How come ${small(claim)}?`, `For what reason ${asked.charAt(0).toLowerCase()}${asked.slice(1)}`, `What is the reason that ${small(claim)}?`]);
  }
  const condition = /^(If|When|Without|With) (.*?), (.*)[.]$/.exec(sentence);
  if (condition === null) return undefined;
  const [, word = '', claim = ''] = condition;
  if (word === 'With') return random.pick([`What happens ${word.toLowerCase()} ${claim}?`, `What is the effect ${word.toLowerCase()} ${claim}?`, `How are things ${word.toLowerCase()} ${claim}?`, `${word} ${claim}, what follows?`]);
  return random.pick([`What happens ${word.toLowerCase()} ${claim}?`, `What if ${claim}?`, `${word} ${claim}, what happens then?`, `What follows ${word.toLowerCase()} ${claim}?`, `What does a system do ${word.toLowerCase()} ${claim}?`]);
}

/** A question whose answer is the given part of the topic. */
export function askPart(random: Random, topic: Topic, part: Part): Pair {
  const name = nameOf(random, topic);
  const sentence = firstSentence(part.text).replace(/^(It|They) /, `${capital(name)} `);
  const answer = answerWith(random, topic, part);
  const connected = random.chance(0.5) ? byConnection(random, sentence) : undefined;
  if (connected !== undefined) return [connected, answer];
  if (part.kind !== 'example' && part.kind !== 'specific' && random.chance(0.25)) {
    const pair = yesOrNo(random, sentence, answer);
    if (pair !== undefined) return pair;
  }
  const clause = clauseOf(sentence);
  if (clause === undefined || part.kind === 'example' || random.chance(0.15)) return [askKeywords(random, keywordsOf(random, topic, part)), answer];
  return [aboutClause(random, clause), answer];
}
