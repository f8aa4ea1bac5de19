/** Seeded prompts of five kinds as clients send them: with stray blanks, sent-again documents and indented JSON. */
import type { ChatMessage } from '../../../shared/protocol.ts';
import { Dice, factAbout, filler, introduction, paragraph, thingOf, type Fact, type Thing } from './facts.ts';

export const KINDS = ['chat', 'RAG', 'agent', 'code', 'documents'] as const;
export type Kind = (typeof KINDS)[number];

export interface Prompt {
  readonly kind: Kind;
  readonly messages: readonly ChatMessage[];
  /** What must still be in the messages to answer them. */
  readonly facts: readonly Fact[];
}

/** A pure function of its arguments. */
export function makePrompt(kind: Kind, seed: number): Prompt {
  const dice = new Dice(seed * 7919 + KINDS.indexOf(kind));
  return { kind, ...MAKERS[kind](dice) };
}

type Maker = (dice: Dice) => Omit<Prompt, 'kind'>;
const MAKERS: Readonly<Record<Kind, Maker>> = { chat, RAG: rag, agent, code, documents };

const user = (content: string): ChatMessage => ({ role: 'user', content });
const assistant = (content: string): ChatMessage => ({ role: 'assistant', content });
const system = (content: string): ChatMessage => ({ role: 'system', content });

/** Blanks at line ends and blank lines, as extraction from web pages leaves them. */
function scraped(dice: Dice, paragraphs: readonly string[]): string {
  const ends = ['\n\n', '  \n\n', '\n\n\n\n', ' \n \n\n', '\n'];
  return paragraphs
    .map((text) => text + dice.pick(ends))
    .join('')
    .trimEnd();
}

/** Paragraphs about a thing; the fact stands in the middle of one, after a sentence that names the thing. */
function article(dice: Dice, thing: Thing, { fact, paragraphs }: { fact: Fact | null; paragraphs: number }): string[] {
  const at = dice.between(0, paragraphs - 1);
  return Array.from({ length: paragraphs }, (_, i) => {
    const sentences = [introduction(dice, thing), ...Array.from({ length: dice.between(2, 6) }, () => filler(dice))];
    if (fact !== null && i === at) sentences.splice(1, 0, fact.answer);
    return sentences.join(' ');
  });
}

function chat(dice: Dice): Omit<Prompt, 'kind'> {
  const messages: ChatMessage[] = [system('You are a helpful guide.  \n\n\nAnswer briefly and kindly.')];
  for (let turn = dice.between(2, 6); turn > 0; turn--) {
    const thing = thingOf(dice);
    messages.push(user(`${filler(dice)}\n\n\n${factAbout(dice, thing).question}`), assistant(paragraph(dice, 3)));
  }
  return { messages: [...messages, user('Thank you. Which of these would you visit first, and why?')], facts: [] };
}

function rag(dice: Dice): Omit<Prompt, 'kind'> {
  const things = Array.from({ length: dice.between(4, 8) }, () => thingOf(dice));
  const facts = things.map((thing) => factAbout(dice, thing));
  const documents = things.map((thing, i) => {
    const title = `The ${thing.name} of ${thing.place}`;
    return `Document ${i + 1}: ${title}\n${scraped(dice, article(dice, thing, { fact: facts[i] ?? null, paragraphs: dice.between(1, 3) }))}`;
  });
  const asked = (count: number) => {
    const fact = dice.pick(facts);
    const shown = documents.filter((_, i) => facts[i] === fact || dice.next() < count / documents.length);
    const content = `Answer from the documents below.\n\n${shown.join('\n\n\n')}\n\nQuestion: ${fact.question}`;
    return { fact, message: user(content) };
  };
  const turns = Array.from({ length: dice.between(1, 3) }, () => asked(5));
  const messages = turns.flatMap(({ message }) => [message, assistant(filler(dice))]).slice(0, -1);
  return { messages, facts: turns.map(({ fact }) => fact) };
}

function agent(dice: Dice): Omit<Prompt, 'kind'> {
  const thing = thingOf(dice);
  const fact = factAbout(dice, thing);
  const tools = ['search', 'open_page', 'calendar'].map((name) => ({
    type: 'function',
    function: {
      name,
      description: filler(dice),
      parameters: { type: 'object', properties: { query: { type: 'string' } } },
    },
  }));
  const hits = Array.from({ length: dice.between(4, 12) }, (_, i) => {
    return {
      id: dice.between(1000, 999_999),
      rank: i + 1,
      score: dice.next(),
      url: `https://example.org/${i}`,
      text: filler(dice),
    };
  });
  const search = `Tool result (search):\n${JSON.stringify({ hits, total: hits.length, next: null }, null, 2)}`;
  const paragraphs = dice.between(3, 7);
  const page = `Tool result (open_page):\n${scraped(dice, article(dice, thing, { fact, paragraphs }))}`;
  const messages = [
    system(`You can use these tools:\n\n${JSON.stringify(tools, null, 2)}\n\nCall one at a time.`),
    user(fact.question),
    ...[assistant('I will search.'), user(search), assistant('I will open the first page.'), user(page)],
    ...(dice.next() < 0.5 ? [assistant('I will look again.'), user(search)] : []),
    ...(dice.next() < 0.5 ? [assistant('I will open it once more.'), user(page)] : []),
  ];
  return { messages, facts: [fact] };
}

function code(dice: Dice): Omit<Prompt, 'kind'> {
  const functions = Array.from({ length: dice.between(3, 9) }, () => {
    const [name, step] = [
      `${dice.pick(['load', 'merge', 'count', 'send'])}_${dice.between(1, 99)}`,
      dice.between(2, 9),
    ];
    return `def ${name}(items, limit=${step}):\n    """${filler(dice)}"""\n    for item in items:  \n        if item.size > limit:\n            return item\n    return None`;
  });
  const source = functions.join('\n\n\n');
  const isFenced = dice.next() < 0.5;
  const shown = isFenced ? `\`\`\`python\n${source}\n\`\`\`` : source;
  const log = Array.from({ length: 5 }, (_, i) => `  File "app.py", line ${i * 13}, in main`).join('\n');
  const messages = [
    user(
      `This code fails when the list is empty.\n\n\n\n${shown}\n\n\nTraceback (most recent call last):\n${log}\n\nWhat is wrong?`,
    ),
    assistant('It returns None.'),
    user(`${filler(dice)}  \nHere is the file again:\n\n${shown}\n\nPlease add a test.`),
  ];
  return { messages, facts: [] };
}

function documents(dice: Dice): Omit<Prompt, 'kind'> {
  const thing = thingOf(dice);
  const fact = factAbout(dice, thing);
  const chapters = Array.from({ length: dice.between(3, 8) }, (_, i) => {
    const about = i === 1 ? thing : thingOf(dice);
    const paragraphs = article(dice, about, { fact: i === 1 ? fact : null, paragraphs: dice.between(2, 4) });
    const table = `| place | year |\n|---|---|\n| ${about.place} | ${dice.between(1600, 1999)} |`;
    return [`## Chapter ${i + 1}`, ...paragraphs, ...(dice.next() < 0.3 ? [table] : [])];
  });
  return {
    messages: [user(`Read this report.\n\n${scraped(dice, chapters.flat())}\n\n${fact.question}`)],
    facts: [fact],
  };
}
