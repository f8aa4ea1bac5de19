/** Two workers with the embedded model behind the edge: requests find the worker that holds their prefix, tenants none of each other's. */
import { mintKey } from '../../edge/key.ts';
import { startWorker, type WorkerProcess } from '../../infra/dev/worker.ts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Stack, until } from '../support/stack.ts';

const MODEL = 'millrace-mini';
const FLAGS = ['--max-num-seqs', '2', '--max-model-len', '2048'];
/** Longer than a heartbeat's interval: gateways then know idle workers to be idle. */
const BEAT_MS = 1_300;

let stack: Stack;
let second: WorkerProcess;
let otherKey = '';
const secondLog: string[] = [];

beforeAll(async () => {
  const keys = async (pepper: string) => {
    const { key, publicId, secretHash } = await mintKey(pepper);
    otherKey = key;
    return [{ publicId, secretHash, tenant: 'other' }];
  };
  stack = await Stack.start({ model: `models/${MODEL}`, flags: [...FLAGS, '--worker-id', 'w0'], edge: { keys } });
  const flags = [...FLAGS, '--worker-id', 'w1'];
  const { nats } = stack;
  second = await startWorker({ nats, model: `models/${MODEL}`, flags, onLine: (line) => secondLog.push(line) });
  await ask('Good day.', 'Hello.');
  await pause();
}, 240_000);
afterAll(async () => {
  await second[Symbol.asyncDispose]();
  await stack[Symbol.asyncDispose]();
});

const pause = (ms = BEAT_MS) => new Promise((resolve) => setTimeout(resolve, ms));
const admitted = (log: readonly string[]) => log.filter((line) => line.includes('"admitted"')).length;
const rules = (name: string) =>
  `You work for ${name}. `.padEnd(60, '.') + 'Be short, be kind, and never promise a date of delivery. '.repeat(50);

interface Answer {
  readonly worker: 'w0' | 'w1';
  readonly promptTokens: number;
  readonly cachedTokens: number;
}

/** Requests that each worker has admitted so far. */
const counts = () => [admitted(stack.workerLog), admitted(secondLog)];

async function post(system: string, user: string, key = stack.edge.apiKey): Promise<Omit<Answer, 'worker'>> {
  const messages = [
    { role: 'system', content: system },
    { role: 'user', content: user },
  ];
  const headers = { ...stack.headers, authorization: `Bearer ${key}` };
  const response = await stack.post('/v1/chat/completions', { model: MODEL, messages, max_tokens: 2 }, { headers });
  expect(response.status).toBe(200);
  const { usage } = (await response.json()) as {
    readonly usage: { prompt_tokens: number; prompt_tokens_details: { cached_tokens: number } };
  };
  return { promptTokens: usage.prompt_tokens, cachedTokens: usage.prompt_tokens_details.cached_tokens };
}

/** Alone: the one who admits it meanwhile is its worker. */
async function ask(system: string, user: string, key = stack.edge.apiKey): Promise<Answer> {
  const before = counts();
  const answer = await post(system, user, key);
  await until(() => counts().join() !== before.join());
  return { ...answer, worker: counts()[0] === before[0] ? 'w1' : 'w0' };
}

test('the second request with a long prefix goes to the worker that has it, and so do all after it', async () => {
  const first = await ask(rules('Adler'), 'Where is my parcel?');
  expect(first.cachedTokens).toBeLessThan(64);
  await pause();
  for (let i = 0; i < 5; i++) {
    const next = await ask(rules('Adler'), `Where is parcel number ${i}?`);
    expect(next.worker).toBe(first.worker);
    expect(next.cachedTokens).toBeGreaterThan(next.promptTokens - 40);
  }
});

test('both workers are used, each for its own prefixes', async () => {
  const shops = ['Ash', 'Elm', 'Fir', 'Oak'];
  const before = counts();
  // At once: alone, each might go to the worker that was a little faster of late.
  await Promise.all(shops.map((name) => post(rules(`Shop ${name}`), 'Hello.')));
  await until(() => counts().every((count, i) => count > (before[i] ?? 0)), 2000);
  await pause();
  // What came before the latest may have been evicted.
  for (const name of shops.slice(-2)) {
    const again = await ask(rules(`Shop ${name}`), 'Good evening.');
    expect(again.cachedTokens).toBeGreaterThan(again.promptTokens - 40);
    await pause();
  }
});

test('another tenant’s same text is never cached for it, wherever it goes', async () => {
  await ask(rules('Berg'), 'Hello.');
  await pause();
  const other = await ask(rules('Berg'), 'Hello.', otherKey);
  expect(other.cachedTokens).toBe(0);
  await pause();
  const own = await ask(rules('Berg'), 'Hello?', otherKey);
  expect(own.worker).toBe(other.worker);
  expect(own.cachedTokens).toBeGreaterThan(own.promptTokens - 40);
});

test('a worker that lost its cache draws nobody: the other, which has the prefix by now, does', async () => {
  const first = await ask(rules('Crane'), 'Hello.');
  await pause();
  // The worker that holds it starts anew; meanwhile the other computes the prefix.
  const flags = [...FLAGS, '--worker-id', first.worker];
  const model = `models/${MODEL}`;
  const leaving = first.worker === 'w0' ? stack.worker : second;
  await leaving[Symbol.asyncDispose]();
  await pause();
  const moved = await ask(rules('Crane'), 'Good evening.');
  expect(moved.worker).not.toBe(first.worker);
  const log = first.worker === 'w0' ? stack.workerLog : secondLog;
  const { nats } = stack;
  const anew = await startWorker({ nats, model, flags, onLine: (line) => log.push(line) });
  if (first.worker === 'w0') stack.worker = anew;
  else second = anew;
  await pause();
  for (let i = 0; i < 4; i++) {
    const next = await ask(rules('Crane'), `Good morning ${i}.`);
    expect(next.worker).toBe(moved.worker);
    expect(next.cachedTokens).toBeGreaterThan(next.promptTokens - 40);
  }
});
