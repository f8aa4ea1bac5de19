// Owns how users word questions: paraphrases per intent, and the noise of real typing. Knows nothing of answers.
import type { Random } from './random.ts';
import type { Topic } from './knowledge.ts';

export type Intent = 'what' | 'explain' | 'detail' | 'sentence' | 'short' | 'simple' | 'bullets' | 'three' | 'why' | 'example';

const COMMON: Record<Intent, readonly string[]> = {
  what: ['What {is} {t}?', 'What {is} {t}?', 'Define {t}.', 'What does {t} mean?', "What's {t}?", 'What {is} {t} in LLM serving?',
    'Can you tell me what {t} {is}?', 'I keep hearing about {t}. What {is} it?', '{T}: what {is} that?', 'What do people mean by {t}?',
    'Do you know what {t} {is}?', 'Please define {t}.', '{T}?', 'What exactly {is} {t}?', 'What {is} meant by {t}?',
    'I am new to this. What {is} {t}?', 'Give me a definition of {t}.', 'What would you say {t} {is}?'],
  explain: ['Explain {t}.', 'Explain {t}', 'Tell me about {t}.', 'How {does} {t} work?', 'Can you explain {t}?', 'Could you explain {t} to me?',
    'Please explain {t}.', 'What should I know about {t}?', 'Describe {t}.', 'Help me understand {t}.', 'What do you know about {t}?',
    'I want to learn about {t}.', 'Teach me about {t}.', 'Give me an overview of {t}.', 'Write a paragraph about {t}.', 'Walk me through {t}.',
    'I would like to understand {t}. Can you help?', 'How {does} {t} work, roughly?', 'Give me an introduction to {t}.',
    'Could you tell a newcomer what {t} {is} about?', 'What is the idea behind {t}?', 'What is {t} and how does it work?'],
  detail: ['Explain {t} in detail.', 'Tell me everything you know about {t}.', 'Give me a long explanation of {t}.', 'Explain {t} thoroughly.',
    'Write a detailed answer about {t}.', 'I need a deep explanation of {t}.', 'Write several paragraphs about {t}.', 'Explain {t} with an example and say why it matters.'],
  sentence: ['Explain {t} in one sentence.', 'What {is} {t}? One sentence, please.', 'In one sentence, what {is} {t}?', 'Summarize {t} in a single sentence.',
    'Give me a one-line explanation of {t}.', 'Define {t} in one sentence.', 'Tell me in a sentence what {t} {is}.'],
  short: ['Explain {t} briefly.', 'Briefly, what {is} {t}?', 'Give me a short explanation of {t}.', 'What {is} {t}, in short?', 'Explain {t} in two sentences.',
    'In a few words, what {is} {t}?', 'Quick question: what {is} {t}?', 'Keep it short: what {is} {t}?'],
  simple: ['Explain {t} in simple words.', 'Explain {t} like I am five.', 'Explain {t} to a beginner.', 'What {is} {t} in plain English?',
    'Can you explain {t} simply?', 'Explain {t} to a child.', 'Explain {t} without jargon.', 'How would you explain {t} to my grandmother?'],
  bullets: ['Explain {t} in bullet points.', 'List the key facts about {t}.', 'Give me bullet points about {t}.', 'What are the main points about {t}?',
    'Summarize {t} as a list.', 'Make a list of facts about {t}.', '{T} in bullet points, please.'],
  three: ['Give me three facts about {t}.', 'Tell me three things about {t}.', 'Explain {t} in three bullet points.', 'Three key points about {t}?',
    'List three facts about {t}.'],
  why: ['Why {does} {t} matter?', 'Why {is} {t} important?', 'Why should I care about {t}?', 'What {is} {t} good for?', 'Why would anybody use {t}?',
    'What is the benefit of {t}?', 'What problem {does} {t} solve?', 'Why {is} {t} useful?'],
  example: ['Give me an example of {t}.', 'Can you give an example for {t}?', 'Show me an example of {t}.', 'Illustrate {t} with an example.',
    'Do you have an example or a picture for {t}?'],
};

/** Names that are clauses ("how neural networks are trained") fit only after a verb of telling. */
const CLAUSE = ['Explain {t}.', 'Tell me {t}.', 'Can you explain {t}?', 'I want to know {t}.', 'Please tell me {t}.', '{T}?'];

const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
const isClause = (name: string): boolean => /^(how|why|what|which|the way of) /.test(name);
const fill = (template: string, name: string, plural: boolean): string =>
  template
    .replaceAll('{t}', name)
    .replaceAll('{T}', capital(name))
    .replaceAll('{is}', plural ? 'are' : 'is')
    .replaceAll('{does}', plural ? 'do' : 'does');

/** A name says its own number where it can: "LLMs", "a block table". */
function nameIsPlural(topic: Topic, name: string): boolean {
  if (/^(a|an) /.test(name)) return false;
  if (/(models|caches|weights|parameters|vectors|tables|templates|embeddings|GPUs|LLMs|templates|tokens|kernels|threads|limits)$/.test(name)) return true;
  return topic.plural && !/(tion|ing|y|k|e|a|the \w+)$/.test(name);
}

export function askAbout(random: Random, topic: Topic, intent: Intent): string {
  const full = random.chance(0.55) ? (topic.names[0] ?? '') : random.pick(topic.names);
  if (full.startsWith('to ')) return random.pick(['What does it mean {t}?', 'What does it mean {t}?']).replace('{t}', full);
  if (isClause(full) && !full.includes(' is ')) return fill(random.pick(CLAUSE), full, false);
  const bare = random.chance(0.18) ? full.replace(/^(a|an|the) /, '') : full;
  return fill(random.pick(COMMON[intent]), bare, nameIsPlural(topic, full));
}

const OPENERS = ['Please ', 'Hi, ', 'Hello! ', 'Hey, ', 'Good morning. ', 'Quick question. ', 'I have a question. ', 'OK, ', 'So, ', 'Help: '];
const CLOSERS = [' Thanks!', ' Thank you.', ' Please.', ' Thanks in advance.'];

function swapLetters(random: Random, text: string): string {
  const at = random.between(2, Math.max(2, text.length - 3));
  const [a, b] = [text.charAt(at), text.charAt(at + 1)];
  return /[a-z]/.test(a) && /[a-z]/.test(b) ? text.slice(0, at) + b + a + text.slice(at + 2) : text;
}

/** The noise of real typing: greetings, lower case, missing marks, a slip of the fingers. */
export function typed(random: Random, question: string): string {
  let text = question;
  if (random.chance(0.08)) {
    const opener = random.pick(OPENERS);
    const proper = /^[A-Z][a-z]+\b/.test(text) && !/^(NATS|Millrace|Llama|Hugging|Cloudflare)/.test(text);
    text = opener + (opener.endsWith(', ') || opener === 'Please ' ? (proper ? text.charAt(0).toLowerCase() + text.slice(1) : text) : text);
  }
  if (random.chance(0.05)) text += random.pick(CLOSERS);
  if (random.chance(0.12)) text = text.toLowerCase();
  if (random.chance(0.12)) text = text.replace(/[.?!]$/, '');
  if (random.chance(0.03)) text = swapLetters(random, text);
  return text;
}
