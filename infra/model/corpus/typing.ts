// Owns the noise of real typing and loose wording, which leaves the words that matter. Knows nothing of topics or answers.
import type { Random } from './random.ts';
import { isFunctionWord } from './grammar.ts';
import { readList } from './lists.ts';

const OPENERS = ['Please ', 'Hi, ', 'Hello! ', 'Hey, ', 'Good morning. ', 'Quick question. ', 'I have a question. ', 'OK, ', 'So, ', 'Help: ', 'Tell me, ', 'Say, ', 'One more thing: ',
  'I was wondering: ', 'I wonder, ', 'Just curious: ', 'Sorry to ask, but ', 'Maybe you know: ', 'For my notes: ', 'My boss asks: ', 'An exam question: ', 'Now ', 'And ', 'Q: ', 'Question: ', 'Could you tell me: ', 'I need help. '];
const CLOSERS = [' Thanks!', ' Thank you.', ' Please.', ' Thanks in advance.', ' I am curious.', ' I forgot.', ' I never understood that.', ' Be precise.', ' Just roughly.', ' Any idea?', ' You know?', ' pls', ' ??'];
const PLACES = ['in LLM serving', 'in a language model', 'in a transformer', 'for language models', 'in an inference server', 'on a GPU', 'in deep learning', 'in machine learning', 'in practice', 'in general', 'in your own words',
  'for LLM serving', 'when serving a model', 'these days', 'exactly', 'actually', 'basically', 'really', 'roughly', 'under the hood', 'technically'];

const SYNONYMS = new Map<string, readonly string[]>();
for (const group of readList('synonyms').map((line) => line.split('|'))) {
  for (const word of group) SYNONYMS.set(word.toLowerCase(), [...(SYNONYMS.get(word.toLowerCase()) ?? []), ...group.filter((other) => other !== word)]);
}

function swapLetters(random: Random, text: string): string {
  const at = random.between(2, Math.max(2, text.length - 3));
  const [a, b] = [text.charAt(at), text.charAt(at + 1)];
  return /[a-z]/.test(a) && /[a-z]/.test(b) ? text.slice(0, at) + b + a + text.slice(at + 2) : text;
}

/** One slip of the fingers inside a word: two letters swapped, one lost, or one doubled. */
function slip(random: Random, text: string): string {
  if (random.chance(0.4)) return swapLetters(random, text);
  const at = random.between(2, Math.max(2, text.length - 3));
  if (!/[a-z]/.test(text.charAt(at)) || !/[a-z]/.test(text.charAt(at - 1))) return text;
  return random.chance(0.6) ? text.slice(0, at) + text.slice(at + 1) : text.slice(0, at) + text.charAt(at) + text.slice(at);
}

/** Words for the same thing, each replaced with the given probability; marks and capitals stay. */
export function withSynonyms(random: Random, text: string, probability: number): string {
  const one = (word: string): string => {
    const core = word.replace(/[.,:;?!"]+$/, '');
    const others = SYNONYMS.get(core.toLowerCase());
    if (others === undefined || !random.chance(probability)) return word;
    const chosen = random.pick(others);
    const capital = /^[A-Z][a-z]/.test(core);
    return (capital ? chosen.charAt(0).toUpperCase() + chosen.slice(1) : chosen) + word.slice(core.length);
  };
  const phrased = random.chance(probability) ? text.replace(/\b(KV cache|language models?)\b/g, (phrase) => random.pick(SYNONYMS.get(phrase.toLowerCase()) ?? [phrase])) : text;
  return phrased.split(' ').map(one).join(' ');
}

/** Leaves out small words, as hasty people do. */
function withoutSmallWords(random: Random, text: string, probability: number): string {
  const kept = text.split(' ').filter((word) => !isFunctionWord(word) || !random.chance(probability));
  return kept.length > 1 ? kept.join(' ') : text;
}

function placed(random: Random, text: string): string {
  const place = random.pick(PLACES);
  if (random.chance(0.5)) return text.replace(/([.?!]?)$/, ` ${place}$1`);
  return `${place.charAt(0).toUpperCase()}${place.slice(1)}, ${lowerFirst(text)}`;
}

/** A capital that is only there because a sentence begins. */
const lowerFirst = (text: string): string => (/^(What|Which|Why|How|When|Where|Who|Is|Are|Does|Do|Can|Could|Would|Will|Should|Explain|Describe|Tell|Give|Name|Define|Please|Compare|Say|In)\b/.test(text) ? text.charAt(0).toLowerCase() + text.slice(1) : text);

function framed(random: Random, text: string): string {
  let framedText = text;
  if (random.chance(0.12)) {
    const opener = random.pick(OPENERS);
    framedText = opener + (/[.!:] $/.test(opener) && !opener.endsWith(': ') ? framedText : lowerFirst(framedText));
  }
  return random.chance(0.07) ? framedText + random.pick(CLOSERS) : framedText;
}

function careless(random: Random, text: string): string {
  let typedText = text;
  if (random.chance(0.14)) typedText = typedText.toLowerCase();
  if (random.chance(0.14)) typedText = typedText.replace(/[.?!]$/, '');
  if (random.chance(0.03)) typedText = typedText.replace(/^[a-z]/, (letter) => letter.toUpperCase());
  if (random.chance(0.05)) typedText = slip(random, typedText);
  return random.chance(0.008) ? typedText.toUpperCase() : typedText;
}

/** The noise of real typing: greetings, lower case, missing marks, a slip of the fingers. */
export const typed = (random: Random, question: string): string => careless(random, framed(random, question));

/** A question about the field worded loosely: synonyms, lost small words, a place or a greeting added, careless typing. */
export function loose(random: Random, question: string): string {
  let text = question;
  if (random.chance(0.3)) text = withSynonyms(random, text, 0.35);
  if (random.chance(0.1)) text = withoutSmallWords(random, text, 0.6);
  if (random.chance(0.08)) text = placed(random, text);
  return typed(random, text);
}
