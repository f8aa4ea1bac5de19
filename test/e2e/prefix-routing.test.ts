/** Two workers with the embedded model behind the edge: requests find the worker that holds their prefix, tenants none of each other's. */
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { lookupOf } from '../../edge/prefix/router.ts';
import { mintKey } from '../../edge/key.ts';
import { startWorker, type WorkerProcess } from '../../infra/dev/worker.ts';
import type { Heartbeat, KvEvents, Prompt } from '../../shared/protocol.ts';
import { subjects } from '../../shared/subjects.ts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Stack, until } from '../support/stack.ts';

const MODEL = 'millrace-mini';
const FLAGS = ['--max-num-seqs', '2', '--max-model-len', '2048'];
/** Each has a gateway of its own: what another test sent where lately decides nothing here. */
const TENANTS = ['adler', 'shops', 'berg', 'another', 'crane'] as const;
type Tenant = (typeof TENANTS)[number];
type WorkerId = 'w0' | 'w1';

let stack: Stack;
let second: WorkerProcess;
const keys: Partial<Record<Tenant, string>> = {};
const secondLog: string[] = [];
/** Model names that only one incarnation of a worker serves: they tell which ones a gateway knows. */
let incarnations: readonly string[] = [];
let starts = 0;
/** A gateway by hand, which asks workers what they hold. */
let spy: NatsConnection;

beforeAll(async () => {
  const mint = async (pepper: string, tenant: Tenant) => {
    const { key, publicId, secretHash } = await mintKey(pepper);
    keys[tenant] = key;
    return { publicId, secretHash, tenant };
  };
  const edge = {
    keys: (pepper: string) => Promise.all(TENANTS.map((tenant) => mint(pepper, tenant))),
    // A worker that stalls is no worker that lost its prefix.
    vars: { GATEWAY_SHARDS: '1000', SUBMIT_TIMEOUT_MS: '15000' },
  };
  stack = await Stack.start({ model: `models/${MODEL}`, flags: flagsOf('w0'), edge });
  second = await start('w1');
  const { url, gateway } = stack.nats;
  const { user, password: pass } = gateway;
  spy = await connect({ servers: url, user, pass, inboxPrefix: '_INBOX_gateway' });
}, 240_000);
afterAll(async () => {
  await spy.close();
  await second[Symbol.asyncDispose]();
  await stack[Symbol.asyncDispose]();
});

const logOf = (worker: WorkerId) => (worker === 'w0' ? stack.workerLog : secondLog);

function flagsOf(worker: WorkerId): readonly string[] {
  const incarnation = `${worker}.${starts++}`;
  incarnations = [...incarnations.filter((name) => !name.startsWith(worker)), incarnation];
  return [...FLAGS, '--worker-id', worker, '--served-model-name', `${MODEL},${incarnation}`];
}

async function start(worker: WorkerId): Promise<WorkerProcess> {
  const options = { nats: stack.nats, model: `models/${MODEL}`, flags: flagsOf(worker) };
  return startWorker({ ...options, onLine: (line) => logOf(worker).push(line) });
}

const headersOf = (tenant: Tenant) => ({ ...stack.headers, authorization: `Bearer ${keys[tenant]}` });

/** The tenant's gateway knows both workers as they are now. */
async function known(tenant: Tenant): Promise<void> {
  await until(async () => {
    const response = await stack.get('/v1/models', { headers: headersOf(tenant) });
    const { data } = (await response.json()) as { readonly data: readonly { readonly id: string }[] };
    return incarnations.every((name) => data.some(({ id }) => id === name));
  });
}

/** Canonical: compression changes nothing. */
const rules = (name: string) =>
  `You work for ${name}. `.padEnd(60, '.') + ' Be short, be kind, and never promise a date of delivery.'.repeat(50);

interface Answer {
  readonly id: string;
  readonly worker: WorkerId;
  readonly tenant: Tenant;
  readonly prompt: Prompt;
  readonly promptTokens: number;
  readonly cachedTokens: number;
}

async function ask(tenant: Tenant, system: string, user: string): Promise<Answer> {
  const messages = [
    { role: 'system' as const, content: system },
    { role: 'user' as const, content: user },
  ];
  const body = { model: MODEL, messages, max_tokens: 2 };
  const response = await stack.post('/v1/chat/completions', body, { headers: headersOf(tenant) });
  expect(response.status).toBe(200);
  const { id, usage } = (await response.json()) as {
    readonly id: string;
    readonly usage: { prompt_tokens: number; prompt_tokens_details: { cached_tokens: number } };
  };
  const { prompt_tokens: promptTokens, prompt_tokens_details: details } = usage;
  const prompt: Prompt = { type: 'chat', messages };
  return { id, worker: await workerOf(id), tenant, prompt, promptTokens, cachedTokens: details.cached_tokens };
}

/** The one that admitted it. */
async function workerOf(id: string): Promise<WorkerId> {
  const has = (worker: WorkerId) => logOf(worker).some((line) => line.includes(id));
  await until(() => has('w0') || has('w1'));
  return has('w0') ? 'w0' : 'w1';
}

/**
 * The tenant's gateway knows that the worker of this answer holds its prompt and is idle: the worker has said so before
 * it answers the gateway again, on the same connection.
 */
async function settle({ id, worker, tenant, prompt }: Answer): Promise<void> {
  const control = <T>(message: object) =>
    spy.request(subjects.control(worker), JSON.stringify({ v: 1, ...message }), { timeout: 15_000 }) as Promise<{
      json: () => T;
    }>;
  const [, shard] = id.split('-');
  const last = lookupOf({ prompt, tenant, cacheSalt: '', templateValues: {} }).blocks.at(-1)?.hash;
  await until(async () => {
    const held = (await control<KvEvents>({ type: 'kv-snapshot', shard })).json();
    return held.stored.some(([hash]) => hash === last);
  });
  await until(async () => {
    const { load } = (await control<Heartbeat>({ type: 'probe' })).json();
    return load.running + load.waiting === 0;
  });
  const stop = await stack.post(`/v1/streams/${id}/stop`, {}, { headers: headersOf(tenant) });
  expect(stop.status).toBe(200);
}

test('the second request with a long prefix goes to the worker that has it, and so do all after it', async () => {
  await known('adler');
  const first = await ask('adler', rules('Adler'), 'Where is my parcel?');
  expect(first.cachedTokens).toBeLessThan(64);
  await settle(first);
  for (let i = 0; i < 5; i++) {
    const next = await ask('adler', rules('Adler'), `Where is parcel number ${i}?`);
    expect(next.worker).toBe(first.worker);
    expect(next.cachedTokens).toBeGreaterThan(next.promptTokens - 40);
  }
}, 90_000);

test('both workers are used, each for its own prefixes', async () => {
  await known('shops');
  // At once: alone, each might go to the worker that was a little faster of late.
  const shops = ['Ash', 'Elm', 'Fir', 'Oak'];
  const answers = await Promise.all(shops.map((name) => ask('shops', rules(`Shop ${name}`), 'Hello.')));
  for (const worker of ['w0', 'w1'] as const) {
    // What came before the latest may have been evicted.
    const place = ({ id }: Answer) => logOf(worker).findIndex((line) => line.includes(id));
    const [latest] = answers.filter((answer) => answer.worker === worker).toSorted((a, b) => place(b) - place(a));
    if (latest === undefined) throw new Error(`${worker} was not used`);
    await settle(latest);
    const again = await ask('shops', rules(`Shop ${shops[answers.indexOf(latest)]}`), 'Good evening.');
    expect(again.worker).toBe(worker);
    expect(again.cachedTokens).toBeGreaterThan(again.promptTokens - 40);
  }
}, 90_000);

test('another tenant’s same text is never cached for it, wherever it goes', async () => {
  await known('berg');
  await settle(await ask('berg', rules('Berg'), 'Hello.'));
  await known('another');
  const other = await ask('another', rules('Berg'), 'Hello.');
  expect(other.cachedTokens).toBe(0);
  await settle(other);
  const own = await ask('another', rules('Berg'), 'Hello?');
  expect(own.worker).toBe(other.worker);
  expect(own.cachedTokens).toBeGreaterThan(own.promptTokens - 40);
}, 90_000);

test('a worker that lost its cache draws nobody: the other, which has the prefix by now, does', async () => {
  await known('crane');
  const first = await ask('crane', rules('Crane'), 'Hello.');
  await settle(first);
  // The worker that holds it starts anew; meanwhile the other computes the prefix.
  const leaving = first.worker === 'w0' ? stack.worker : second;
  await leaving[Symbol.asyncDispose]();
  const moved = await ask('crane', rules('Crane'), 'Good evening.');
  expect(moved.worker).not.toBe(first.worker);
  const anew = await start(first.worker);
  if (first.worker === 'w0') stack.worker = anew;
  else second = anew;
  await known('crane');
  await settle(moved);
  for (let i = 0; i < 4; i++) {
    const next = await ask('crane', rules('Crane'), `Good morning ${i}.`);
    expect(next.worker).toBe(moved.worker);
    expect(next.cachedTokens).toBeGreaterThan(next.promptTokens - 40);
  }
}, 90_000);
