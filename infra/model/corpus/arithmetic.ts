// Owns sums and the small calculations of serving. Knows nothing of the rest of the corpus.
import type { Random } from './random.ts';
import { type Example, assistant, user } from './example.ts';
import { readList } from './lists.ts';
import { typed } from './typing.ts';

type Sum = readonly [question: string, answer: string];

const NAMES = readList('first-names');
const PRODUCTS = readList('products');

function plain(random: Random): Sum {
  const kind = random.pick(['+', '-', '*', '/'] as const);
  const big = random.chance(0.4) ? 999 : 99;
  let a = random.between(0, random.chance(0.4) ? 20 : big);
  let b = random.between(0, random.chance(0.4) ? 20 : big);
  if (kind === '-' && a < b) [a, b] = [b, a];
  if (kind === '*') [a, b] = random.chance(0.7) ? [random.between(0, 12), random.between(0, 12)] : [random.between(10, 99), random.between(2, 9)];
  if (kind === '/') {
    b = random.between(1, 12);
    a = b * random.between(1, 20);
  }
  const result = { '+': a + b, '-': a - b, '*': a * b, '/': a / b }[kind];
  const word = { '+': 'plus', '-': 'minus', '*': 'times', '/': 'divided by' }[kind];
  const sign = kind === '*' ? random.pick(['*', 'x', '×']) : kind;
  const asked = random.pick([`What is ${a} ${sign} ${b}?`, `What is ${a} ${word} ${b}?`, `${a} ${sign} ${b}`, `${a}${sign}${b}=?`, `Calculate ${a} ${sign} ${b}.`,
    `How much is ${a} ${word} ${b}?`, `Compute ${a} ${word} ${b}.`, `Can you work out ${a} ${sign} ${b}?`]);
  return [asked, random.pick([`${a} ${sign} ${b} = ${result}`, `${a} ${word} ${b} is ${result}.`, `${a} ${word} ${b} is ${result}.`])];
}

function wordProblem(random: Random): Sum {
  const [first, second] = random.sample(NAMES, 2);
  const thing = `${random.pick(['apple', 'book', 'coin', 'pencil', 'stamp', 'marble', 'ticket'])}s`;
  const [a, b, c] = [random.between(2, 40), random.between(1, 30), random.between(2, 9)];
  return random.pick<Sum>([
    [`${first} has ${a} ${thing} and ${second} gives ${first} ${b} more. How many ${thing} does ${first} have now?`, `${first} has ${a} + ${b} = ${a + b} ${thing} now.`],
    [`${first} has ${a + b} ${thing} and gives ${b} of them to ${second}. How many are left?`, `${a + b} - ${b} = ${a}, so ${first} has ${a} ${thing} left.`],
    [`${first} buys ${c} boxes with ${a} ${thing} each. How many ${thing} are there?`, `${c} times ${a} is ${c * a}, so there are ${c * a} ${thing}.`],
    [`A ${random.pick(PRODUCTS)} costs ${a} dollars. How much do ${c} of them cost?`, `${c} times ${a} is ${c * a}, so they cost ${c * a} dollars.`],
  ]);
}

function servingSum(random: Random): Sum {
  const size = random.pick([1, 2, 3, 4, 6, 7, 8, 9, 12, 13, 14, 20, 22, 27, 30, 32, 34, 40, 70, 72, 90, 100, 120, 180, 400]);
  const rate = random.pick([10, 20, 25, 30, 40, 50, 80, 100, 200]);
  const seconds = random.between(2, 40);
  const streams = random.pick([2, 4, 5, 8, 10, 16, 20, 32, 50, 64]);
  const ms = random.pick([5, 10, 20, 25, 40, 50, 100]);
  const [queryHeads, group] = [random.pick([8, 16, 32, 64]), random.pick([2, 4, 8])];
  return random.pick<Sum>([
    [`How many gigabytes does a ${size}B model need in ${random.pick(['fp16', 'bf16', '16-bit'])}?`, `A ${size}B model needs about ${size * 2} gigabytes for its weights, since each parameter takes two bytes.`],
    [`How much memory do the weights of a ${size}B model take in int8?`, `About ${size} gigabytes, since each parameter takes one byte.`],
    [`How much memory does a ${size}B model take in int4?`, `About ${size / 2} gigabytes for the weights, since each parameter takes half a byte. The scales add a little.`],
    [`A server makes ${rate} tokens per second. How long does an answer of ${rate * seconds} tokens take?`, `${rate * seconds} divided by ${rate} is ${seconds}, so it takes ${seconds} seconds.`],
    [`If each of ${streams} streams gets ${rate} tokens per second, what is the total throughput?`, `${streams} times ${rate} is ${streams * rate}, so the throughput is ${streams * rate} tokens per second.`],
    [`A step takes ${ms} milliseconds. How many tokens per second does one sequence get?`, `1000 divided by ${ms} is ${1000 / ms}, so one sequence gets ${1000 / ms} tokens per second.`],
    [`A model has ${queryHeads} query heads and ${queryHeads / group} KV heads. How many query heads share one KV head?`, `${queryHeads} divided by ${queryHeads / group} is ${group}, so ${group} query heads share one KV head.`],
    [`With a block size of 16, how many KV blocks does a sequence of ${seconds * 16} tokens need?`, `${seconds * 16} divided by 16 is ${seconds}, so it needs ${seconds} blocks.`],
  ]);
}

export function arithmetic(random: Random): Example {
  const sum = random.weighted([[6, plain], [2, wordProblem], [2, servingSum]] as const);
  const messages = [];
  for (let turn = random.chance(0.2) ? 3 : 1; turn > 0; turn--) {
    const [question, answer] = sum(random);
    messages.push(user(turn === 1 ? typed(random, question) : question), assistant(answer));
  }
  return { kind: 'arithmetic', messages };
}
