// Owns edits of code and sentences that repeat most of the prompt. Knows nothing of what the code does.
import type { Random } from './random.ts';
import { type Example, assistant, user } from './example.ts';
import { madeUpWord, readList } from './lists.ts';

const NAMES = readList('first-names');
const CITIES = readList('cities');
const PRODUCTS = readList('products');
const VERBS = ['sum', 'count', 'load', 'find', 'send', 'make', 'check', 'read', 'merge', 'scale', 'parse', 'filter', 'store', 'trim'];
const NOUNS = ['Items', 'Tokens', 'Blocks', 'Users', 'Rows', 'Price', 'Score', 'Batch', 'Cache', 'Queue', 'Frame', 'Total', 'Name', 'Page'];
const VARS = ['items', 'total', 'result', 'value', 'count', 'x', 'y', 'tokens', 'blocks', 'rows', 'price', 'score', 'name', 'index', 'limit', 'data', 'input', 'size', 'user', 'step'];

interface Snippet {
  readonly language: string;
  readonly text: string;
  readonly names: readonly string[];
}

function snippet(random: Random): Snippet {
  const [a = 'a', b = 'b', c = 'c'] = random.sample(VARS, 3);
  const f = random.chance(0.8) ? `${random.pick(VERBS)}${random.pick(NOUNS)}` : madeUpWord(random, 2);
  const n = random.between(1, 99);
  const g = f.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  return random.pick<Snippet>([
    { language: 'ts', names: [a, b, f], text: `function ${f}(${a}: number[]): number {\n  let ${b} = 0;\n  for (const n of ${a}) ${b} += n;\n  return ${b};\n}` },
    { language: 'js', names: [a, b, f], text: `const ${f} = (${a}, ${b}) => {\n  if (${a} > ${b}) return ${a} - ${n};\n  return ${b};\n};` },
    { language: 'python', names: [a, b, g], text: `def ${g}(${a}, ${b}):\n    ${c} = ${a} * ${n} + ${b}\n    print(${c})\n    return ${c}` },
    { language: 'python', names: [a, b, g], text: `def ${g}(${a}):\n    ${b} = []\n    for ${c} in ${a}:\n        if ${c} > ${n}:\n            ${b}.append(${c})\n    return ${b}` },
    { language: 'ts', names: [a, b, f], text: `export function ${f}(${a}: string, ${b}: number): string {\n  return ${a}.repeat(${b}).slice(0, ${n});\n}` },
    { language: 'js', names: [a, b, f], text: `async function ${f}(${a}) {\n  const ${b} = await fetch(${a});\n  if (!${b}.ok) throw new Error('status ' + ${b}.status);\n  return ${b}.json();\n}` },
  ]);
}

const fence = (language: string, text: string): string => `\`\`\`${language}\n${text}\n\`\`\``;

function rename(random: Random): Example {
  const code = snippet(random);
  const from = random.pick(code.names);
  const to = random.chance(0.5) ? madeUpWord(random, random.between(2, 3)) : `${random.pick(VERBS)}${random.pick(NOUNS)}`;
  const edited = code.text.replace(new RegExp(`\\b${from}\\b`, 'g'), to);
  const ask = random.pick([`Rename ${from} to ${to} in this code:`, `Rewrite this function, renaming ${from} to ${to}:`, `In the following code, change the name ${from} to ${to}.`,
    `Please rename \`${from}\` to \`${to}\`.`, `Refactor: ${from} should be called ${to}.`]);
  return { kind: 'edit', messages: [user(`${ask}\n\n${fence(code.language, code.text)}`), assistant(fence(code.language, edited))] };
}

function changeNumber(random: Random): Example {
  const code = snippet(random);
  const from = /\b\d+\b/.exec(code.text)?.[0] ?? '0';
  const to = random.between(100, 9999);
  return { kind: 'edit', messages: [user(`Change the number ${from} to ${to} in this code:\n\n${fence(code.language, code.text)}`), assistant(fence(code.language, code.text.replace(new RegExp(`\\b${from}\\b`, 'g'), String(to))))] };
}

function sentences(random: Random, count: number): string[] {
  return Array.from({ length: count }, () =>
    random.pick([
      () => `${random.pick(NAMES)} took the train to ${random.pick(CITIES)} on day ${random.between(1, 30)}.`,
      () => `The ${random.pick(PRODUCTS)} from ${random.pick(CITIES)} costs ${random.between(2, 400)} dollars.`,
      () => `${random.pick(NAMES)} wrote a letter to ${random.pick(NAMES)} about the ${random.pick(PRODUCTS)}.`,
      () => `The word of the day is ${madeUpWord(random, 3)}.`,
      () => `Worker ${random.between(1, 99)} finished ${random.between(2, 900)} requests in ${random.between(2, 60)} seconds.`,
    ])(),
  );
}

function sentenceEdit(random: Random): Example {
  const lines = sentences(random, random.between(1, 5));
  const text = lines.join(' ');
  const words = [...new Set(text.match(/\b[A-Za-z]{4,}\b/g) ?? ['word'])];
  const [from, to] = [random.pick(words), random.chance(0.5) ? random.pick(NAMES) : madeUpWord(random, 2)];
  const at = random.between(1, lines.length);
  const ordinal = ['first', 'second', 'third', 'fourth', 'fifth'][at - 1] ?? 'first';
  const [ask, answer] = random.pick([
    [`Repeat the following text exactly: ${text}`, text],
    [`Copy this text word for word:\n\n${text}`, text],
    [`Say this back to me: ${text}`, text],
    [`Replace "${from}" with "${to}" in this text: ${text}`, text.replace(new RegExp(`\\b${from}\\b`, 'g'), to)],
    [`Rewrite this text, but replace ${from} by ${to}: ${text}`, text.replace(new RegExp(`\\b${from}\\b`, 'g'), to)],
    [`What is the ${ordinal} sentence of this text? ${text}`, lines[at - 1] ?? ''],
    [`Put each sentence on its own line with a number: ${text}`, lines.map((line, i) => `${i + 1}. ${line}`).join('\n')],
    [`Turn these sentences into bullet points: ${text}`, lines.map((line) => `- ${line}`).join('\n')],
  ] as const);
  return { kind: 'edit', messages: [user(ask), assistant(answer)] };
}

export function edit(random: Random): Example {
  return random.weighted([[4, rename], [1, changeNumber], [5, sentenceEdit]] as const)(random);
}
