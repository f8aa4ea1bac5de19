/** Two workers with the embedded model behind the edge: requests find the worker that holds their prefix, tenants none of each other's. */
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { lookupOf } from '../../edge/prefix/router.ts';
import { mintKey } from '../../edge/key.ts';
import { DEV_TENANT } from '../../infra/dev/edge.ts';
import { startWorker, type WorkerProcess } from '../../infra/dev/worker.ts';
import type { Heartbeat, KvEvents, Prompt } from '../../shared/protocol.ts';
import { subjects } from '../../shared/subjects.ts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Stack, until } from '../support/stack.ts';

const MODEL = 'millrace-mini';
const FLAGS = ['--max-num-seqs', '2', '--max-model-len', '2048'];
const OTHER_TENANT = 'other';
type WorkerId = 'w0' | 'w1';

let stack: Stack;
let second: WorkerProcess;
let otherKey = '';
const secondLog: string[] = [];
/** A gateway by hand, which asks workers what they hold. */
let spy: NatsConnection;

beforeAll(async () => {
  const keys = async (pepper: string) => {
    const { key, publicId, secretHash } = await mintKey(pepper);
    otherKey = key;
    return [{ publicId, secretHash, tenant: OTHER_TENANT }];
  };
  stack = await Stack.start({ model: `models/${MODEL}`, flags: [...FLAGS, '--worker-id', 'w0'], edge: { keys } });
  second = await start('w1');
  const { url, gateway } = stack.nats;
  const { user, password: pass } = gateway;
  spy = await connect({ servers: url, user, pass, inboxPrefix: '_INBOX_gateway' });
  await ask('Good day.', 'Hello.');
}, 240_000);
afterAll(async () => {
  await spy.close();
  await second[Symbol.asyncDispose]();
  await stack[Symbol.asyncDispose]();
});

const logOf = (worker: WorkerId) => (worker === 'w0' ? stack.workerLog : secondLog);

/** Once the edge knows of both. */
async function start(worker: WorkerId): Promise<WorkerProcess> {
  const options = { nats: stack.nats, model: `models/${MODEL}`, flags: [...FLAGS, '--worker-id', worker] };
  const started = await startWorker({ ...options, onLine: (line) => logOf(worker).push(line) });
  await until(async () => ((await (await stack.get('/health')).json()) as { workers: number }).workers === 2);
  return started;
}

/** Canonical: compression changes nothing. */
const rules = (name: string) =>
  `You work for ${name}. `.padEnd(60, '.') + ' Be short, be kind, and never promise a date of delivery.'.repeat(50);

interface Answer {
  readonly id: string;
  readonly worker: WorkerId;
  readonly prompt: Prompt;
  readonly promptTokens: number;
  readonly cachedTokens: number;
}

async function ask(system: string, user: string, key = stack.edge.apiKey): Promise<Answer> {
  const messages = [
    { role: 'system' as const, content: system },
    { role: 'user' as const, content: user },
  ];
  const headers = { ...stack.headers, authorization: `Bearer ${key}` };
  const response = await stack.post('/v1/chat/completions', { model: MODEL, messages, max_tokens: 2 }, { headers });
  expect(response.status).toBe(200);
  const { id, usage } = (await response.json()) as {
    readonly id: string;
    readonly usage: { prompt_tokens: number; prompt_tokens_details: { cached_tokens: number } };
  };
  const { prompt_tokens: promptTokens, prompt_tokens_details: details } = usage;
  const prompt: Prompt = { type: 'chat', messages };
  return { id, worker: await workerOf(id), prompt, promptTokens, cachedTokens: details.cached_tokens };
}

/** The one that admitted it. */
async function workerOf(id: string): Promise<WorkerId> {
  const has = (worker: WorkerId) => logOf(worker).some((line) => line.includes(id));
  await until(() => has('w0') || has('w1'));
  return has('w0') ? 'w0' : 'w1';
}

/**
 * The edge knows that the worker of this answer holds its prompt and is idle: the worker has said so to all before it
 * answers the edge again, on the same connection.
 */
async function settle({ id, worker, prompt }: Answer, tenant = DEV_TENANT): Promise<void> {
  const control = <T>(message: object) =>
    spy.request(subjects.control(worker), JSON.stringify({ v: 1, ...message }), { timeout: 15_000 }) as Promise<{
      json: () => T;
    }>;
  const last = lookupOf({ prompt, tenant, cacheSalt: '', templateValues: {} }).blocks.at(-1)?.hash;
  await until(async () => {
    const held = (await control<KvEvents>({ type: 'kv-snapshot', shard: 's0' })).json();
    return held.stored.some(([hash]) => hash === last);
  });
  await until(async () => {
    const { load } = (await control<Heartbeat>({ type: 'probe' })).json();
    return load.running + load.waiting === 0;
  });
  const path = `/v1/streams/${id}/stop`;
  const init = tenant === DEV_TENANT ? {} : { headers: { ...stack.headers, authorization: `Bearer ${otherKey}` } };
  expect((await stack.post(path, {}, init)).status).toBe(200);
}

test('the second request with a long prefix goes to the worker that has it, and so do all after it', async () => {
  const first = await ask(rules('Adler'), 'Where is my parcel?');
  expect(first.cachedTokens).toBeLessThan(64);
  await settle(first);
  for (let i = 0; i < 5; i++) {
    const next = await ask(rules('Adler'), `Where is parcel number ${i}?`);
    expect(next.worker).toBe(first.worker);
    expect(next.cachedTokens).toBeGreaterThan(next.promptTokens - 40);
  }
}, 90_000);

test('both workers are used, each for its own prefixes', async () => {
  // At once: alone, each might go to the worker that was a little faster of late.
  const shops = ['Ash', 'Elm', 'Fir', 'Oak'];
  const answers = await Promise.all(shops.map((name) => ask(rules(`Shop ${name}`), 'Hello.')));
  for (const worker of ['w0', 'w1'] as const) {
    // What came before the latest may have been evicted.
    const place = ({ id }: Answer) => logOf(worker).findIndex((line) => line.includes(id));
    const [latest] = answers.filter((answer) => answer.worker === worker).toSorted((a, b) => place(b) - place(a));
    if (latest === undefined) throw new Error(`${worker} was not used`);
    await settle(latest);
    const again = await ask(rules(`Shop ${shops[answers.indexOf(latest)]}`), 'Good evening.');
    expect(again.worker).toBe(worker);
    expect(again.cachedTokens).toBeGreaterThan(again.promptTokens - 40);
  }
}, 90_000);

test('another tenant’s same text is never cached for it, wherever it goes', async () => {
  await settle(await ask(rules('Berg'), 'Hello.'));
  const other = await ask(rules('Berg'), 'Hello.', otherKey);
  expect(other.cachedTokens).toBe(0);
  await settle(other, OTHER_TENANT);
  const own = await ask(rules('Berg'), 'Hello?', otherKey);
  expect(own.worker).toBe(other.worker);
  expect(own.cachedTokens).toBeGreaterThan(own.promptTokens - 40);
}, 90_000);

test('a worker that lost its cache draws nobody: the other, which has the prefix by now, does', async () => {
  const first = await ask(rules('Crane'), 'Hello.');
  await settle(first);
  // The worker that holds it starts anew; meanwhile the other computes the prefix.
  const leaving = first.worker === 'w0' ? stack.worker : second;
  await leaving[Symbol.asyncDispose]();
  const moved = await ask(rules('Crane'), 'Good evening.');
  expect(moved.worker).not.toBe(first.worker);
  const anew = await start(first.worker);
  if (first.worker === 'w0') stack.worker = anew;
  else second = anew;
  await settle(moved);
  for (let i = 0; i < 4; i++) {
    const next = await ask(rules('Crane'), `Good morning ${i}.`);
    expect(next.worker).toBe(moved.worker);
    expect(next.cachedTokens).toBeGreaterThan(next.promptTokens - 40);
  }
}, 90_000);
