// Owns tasks that copy from the prompt: JSON extraction, lists, questions about a given text. Knows nothing of the field.
import type { Random } from './random.ts';
import { type Example, assistant, system, user } from './example.ts';
import { code, madeUpName, readList } from './lists.ts';

const NAMES = readList('first-names');
const CITIES = readList('cities');
const JOBS = readList('jobs');
const PRODUCTS = readList('products');
const MONTHS = ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October', 'November', 'December'];

type Value = string | number | null;
type Fields = Record<string, Value>;
type Template = (f: Fields) => string;

const PERSON: readonly Template[] = [
  (f) => `${f['name']} is ${f['age']} years old and lives in ${f['city']}.`,
  (f) => `My name is ${f['name']}, I am ${f['age']} and I work as a ${f['job']} in ${f['city']}.`,
  (f) => `${f['name']}, ${f['age']}, from ${f['city']}, has worked as a ${f['job']} at ${f['company']} for years.`,
  (f) => `At ${f['company']} in ${f['city']} we met ${f['name']}, a ${f['job']} aged ${f['age']}.`,
  (f) => `Please contact ${f['name']} (${f['email']}) in ${f['city']}.`,
  (f) => `${f['name']} joined ${f['company']} as a ${f['job']} on ${f['date']}.`,
];
const ORDER: readonly Template[] = [
  (f) => `Order ${f['order']}: ${f['quantity']} x ${f['product']} for ${f['price']} dollars, ship to ${f['city']}.`,
  (f) => `${f['name']} ordered ${f['quantity']} units of the ${f['product']} on ${f['date']}; the order number is ${f['order']}.`,
  (f) => `The ${f['product']} costs ${f['price']} dollars and will arrive in ${f['city']} on ${f['date']}.`,
  (f) => `On ${f['date']} ${f['name']} from ${f['city']} paid ${f['price']} dollars for a ${f['product']}.`,
  (f) => `Hello, I am ${f['name']}. My order ${f['order']} with the ${f['product']} has not arrived in ${f['city']} yet.`,
];
const EVENT: readonly Template[] = [
  (f) => `The meeting with ${f['name']} is on ${f['date']} at ${f['time']} in ${f['city']}.`,
  (f) => `${f['company']} opens its new office in ${f['city']} on ${f['date']}.`,
  (f) => `Server ${f['server']} in ${f['city']} failed at ${f['time']} with error ${f['error']}.`,
  (f) => `Worker ${f['server']} reported ${f['quantity']} running sequences at ${f['time']}.`,
];

function drawFields(random: Random): Fields {
  const first = random.pick(NAMES);
  const surname = random.chance(0.6) ? madeUpName(random) : '';
  const company = `${madeUpName(random)}${random.pick([' Labs', ' GmbH', ' Inc', ' Systems', '', ' Foods'])}`;
  return {
    name: surname === '' ? first : `${first} ${surname}`,
    age: random.between(18, 90),
    city: random.chance(0.8) ? random.pick(CITIES) : madeUpName(random),
    job: random.pick(JOBS),
    company,
    email: `${first.toLowerCase()}@${company.split(' ')[0]?.toLowerCase()}.com`,
    date: random.pick([`${random.between(1, 28)} ${random.pick(MONTHS)}`, `${random.pick(MONTHS)} ${random.between(1, 28)}`, `2026-0${random.between(1, 9)}-${random.between(10, 28)}`]),
    order: code(random),
    quantity: random.between(2, 60),
    product: random.pick(PRODUCTS),
    price: random.chance(0.5) ? random.between(3, 900) : Number(`${random.between(3, 900)}.${random.between(10, 99)}`),
    time: `${random.between(0, 23)}:${random.between(10, 59)}`,
    server: code(random).toLowerCase(),
    error: random.pick([500, 502, 503, 504, 'E-42', 'OOM', 'TIMEOUT']),
  };
}

/** The fields that a sentence really mentions, in a random order. */
function mentioned(template: Template, fields: Fields): string[] {
  const seen: string[] = [];
  template(new Proxy(fields, { get: (target, key) => (seen.push(String(key)), target[String(key)]) }));
  return seen;
}

const ASK = ['Extract {keys} from this sentence as JSON: {text}', 'Extract {keys} as JSON.\n\n{text}', 'Return a JSON object with the keys {keys} for this text: "{text}"',
  '{text}\n\nExtract {keys} from the text above as JSON.', 'Turn this into JSON with {keys}: {text}', 'Give me {keys} as JSON. Text: {text}',
  'Read the text and answer with JSON only ({keys}).\nText: {text}', 'Parse the following into JSON with the fields {keys}:\n{text}'];

const wordList = (random: Random, keys: readonly string[]): string => {
  const last = keys.at(-1) ?? '';
  if (keys.length === 1) return last;
  return random.chance(0.5) ? `${keys.slice(0, -1).join(', ')} and ${last}` : keys.join(', ');
};

function extraction(random: Random): Example {
  const template = random.pick(random.pick([PERSON, ORDER, EVENT]));
  const fields = drawFields(random);
  const all = mentioned(template, fields);
  const keys = random.sample(all, random.between(1, all.length));
  if (random.chance(0.1)) keys.push(random.pick(Object.keys(fields).filter((key) => !all.includes(key))));
  const wanted = Object.fromEntries(keys.map((key) => [key, all.includes(key) ? (fields[key] ?? null) : null]));
  const json = random.chance(0.15) ? JSON.stringify(wanted, null, 2) : JSON.stringify(wanted).replaceAll('":', '": ').replaceAll(',"', ', "');
  const text = template(fields);
  if (random.chance(0.12)) {
    const rule = system(`You extract data. Answer only with a JSON object with the keys ${wordList(random, keys)}.`);
    return { kind: 'extract', messages: [rule, user(text), assistant(json)] };
  }
  const ask = random.pick(ASK).replace('{keys}', wordList(random, keys)).replace('{text}', text);
  return { kind: 'extract', messages: [user(ask), assistant(json)] };
}

function listing(random: Random): Example {
  const [what, pool] = random.pick([['names', NAMES], ['cities', CITIES], ['products', PRODUCTS]] as const);
  const items = random.sample(pool, random.between(2, 6));
  const joined = `${items.slice(0, -1).join(', ')} and ${items.at(-1)}`;
  const text = { names: `The guests were ${joined}.`, cities: `The train stops in ${joined}.`, products: `The shop sells the following things: ${joined}.` }[what];
  if (random.chance(0.5)) return { kind: 'list', messages: [user(`List the ${what} in this text as a JSON array: ${text}`), assistant(JSON.stringify(items).replaceAll('","', '", "'))] };
  if (random.chance(0.3)) return { kind: 'list', messages: [user(`How many ${what} are in this text? ${text}`), assistant(`There are ${items.length} ${what}: ${joined}.`)] };
  return { kind: 'list', messages: [user(`Make a bullet list of the ${what} in this text: ${text}`), assistant(items.map((item) => `- ${item}`).join('\n'))] };
}

/** A record per line, then a question about one of them; long ones teach reading far back. */
export function lookup(random: Random, records: number): Example {
  const rows = Array.from({ length: records }, () => ({ name: `${random.pick(NAMES)} ${madeUpName(random)}`, city: random.pick(CITIES), id: code(random) }));
  const text = rows.map((row) => `${row.name} lives in ${row.city} and has the number ${row.id}.`).join(random.pick(['\n', ' ']));
  const asked = random.sample(rows, random.between(1, Math.min(3, records)));
  const turns = asked.flatMap((row) => {
    const [question, answer] = random.pick([
      [`What is the number of ${row.name}?`, `The number of ${row.name} is ${row.id}.`],
      [`Where does ${row.name} live?`, `${row.name} lives in ${row.city}.`],
      [`Who has the number ${row.id}?`, `${row.name} has the number ${row.id}.`],
    ] as const);
    return [user(question), assistant(answer)];
  });
  if (random.chance(0.3)) return { kind: 'lookup', messages: [system(`You are a helpful assistant. Use this directory:\n${text}`), ...turns] };
  const [first, ...rest] = turns;
  return { kind: 'lookup', messages: [user(`${text}\n\n${first?.content ?? ''}`), ...rest] };
}

export function copying(random: Random): Example {
  return random.weighted([[6, () => extraction(random)], [2, () => listing(random)], [2, () => lookup(random, random.between(2, 8))]] as const)();
}
