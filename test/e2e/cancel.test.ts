/** A client that leaves, from any phase and by any answer, frees its worker at once; one that stops ends well. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { slowSteps } from '../support/slow-steps.ts';
import { sseEvents, Stack, until } from '../support/stack.ts';

/** A step takes at least so long, so that every phase can be met on any machine. */
const STEP_MS = 20;
/** A client's leaving is acted on within so long: well before what it left would have ended. Milliseconds. */
const SOON_MS = 9_000;
const common = { model: 'millrace-mini', temperature: 0, ignore_eos: true, speculation: 'off' };
/** 18 seconds of decoding. */
const longAnswer = { ...common, prompt: 'Once', max_tokens: 900 };
/** 18 seconds of prefill, two tokens a step. */
const longPrompt = { ...common, prompt: Array.from({ length: 1800 }, (_, i) => 100 + i), max_tokens: 5 };

let stack: Stack;
/** Requests so far; each of them is admitted. */
let asked = 0;
beforeAll(async () => {
  // One slot: a second request queues.
  const flags = ['--max-num-seqs', '1', '--max-num-batched-tokens', '2'];
  stack = await Stack.start({ model: 'models/millrace-mini', flags, env: slowSteps(STEP_MS) });
}, 180_000);
afterAll(async () => {
  await stack[Symbol.asyncDispose]();
});
// The log comes by a way of its own, so a test could take the end of the one before for its own.
afterEach(async () => {
  await until(async () => ended(0).length === asked && (await running()) + (await waiting()) === 0);
});

const running = () => stack.metric('num_requests_running');
const waiting = () => stack.metric('num_requests_waiting');
/** Requests whose ends the worker has logged from `start` on. */
const ended = (start: number) =>
  stack.workerEvents<{ code?: string; completionTokens: number; promptTokens: number }>('ended', start);

/** The one that this test asked. */
async function endOf(start: number) {
  await until(() => ended(start).length > 0);
  expect(ended(start)).toHaveLength(1);
  return ended(start)[0];
}

interface Client {
  readonly response: Promise<Response>;
  leave(): void;
}

function client(body: object, headers: Record<string, string> = {}): Client {
  asked++;
  const abort = new AbortController();
  const init = { signal: abort.signal, headers: { ...stack.headers, ...headers } };
  const response = stack.post('/v1/completions', body, init);
  response.catch(() => {});
  return { response, leave: () => abort.abort() };
}

/** Resumes a stream from its start. */
function reader(id: string | null): Client {
  const abort = new AbortController();
  const response = stack.get(`/v1/streams/${id}`, { signal: abort.signal });
  return { response, leave: () => abort.abort() };
}

async function idOf({ response }: Client): Promise<string | null> {
  return (await response).headers.get('x-millrace-stream-id');
}

describe.each([
  ['stream', { stream: true }],
  ['whole answer', {}],
])('%s: the client leaves', (_, kind) => {
  test('while queued', async () => {
    const occupant = client({ ...longAnswer, stream: true });
    await occupant.response;
    const start = stack.workerLog.length;
    const queued = client({ ...longAnswer, ...kind });
    await until(async () => (await waiting()) === 1);
    queued.leave();
    await until(async () => (await waiting()) === 0, SOON_MS);
    expect(await running()).toBe(1);
    expect(await endOf(start)).toMatchObject({ code: 'request_cancelled', completionTokens: 0 });
    occupant.leave();
    await until(async () => (await running()) === 0, SOON_MS);
  });

  test('in prefill', async () => {
    const start = stack.workerLog.length;
    const prefilling = client({ ...longPrompt, ...kind });
    await until(async () => (await running()) === 1);
    prefilling.leave();
    await until(async () => (await running()) === 0, SOON_MS);
    expect(await endOf(start)).toMatchObject({ code: 'request_cancelled', completionTokens: 0 });
  });

  test('in decode', async () => {
    const start = stack.workerLog.length;
    // Counts from the second token on.
    const decoded = () => stack.metric('inter_token_latency_seconds_count');
    const before = await decoded();
    const decoding = client({ ...longAnswer, ...kind });
    await until(async () => (await decoded()) > before);
    decoding.leave();
    await until(async () => (await running()) === 0, SOON_MS);
    const end = await endOf(start);
    expect(end?.code).toBe('request_cancelled');
    expect(end?.completionTokens).toBeGreaterThan(0);
    expect(end?.completionTokens).toBeLessThan(longAnswer.max_tokens);
    expect(await stack.metric('kv_cache_usage_perc')).toBe(0);
  });
});

describe('resumed streams', () => {
  test('a resumed client leaves, like the first one: the worker is free; the first one heard why it lost its stream', async () => {
    const first = client({ ...longAnswer, stream: true });
    const id = await idOf(first);
    const second = reader(id);
    expect((await second.response).status).toBe(200);
    const text = await (await first.response).text();
    expect(text).toContain('stream_not_found');
    expect(text).not.toContain('[DONE]');
    expect(await running()).toBe(1);
    second.leave();
    await until(async () => (await running()) === 0, SOON_MS);
  });

  test('a stream that is to go on does so to its last token, whoever leaves', async () => {
    const start = stack.workerLog.length;
    const answer = { ...longAnswer, max_tokens: 150, stream: true };
    const first = client(answer, { 'x-millrace-on-disconnect': 'continue' });
    const id = await idOf(first);
    first.leave();
    const second = reader(id);
    await second.response;
    second.leave();
    const end = await endOf(start);
    expect(end?.completionTokens).toBe(answer.max_tokens);
    expect(end?.code).toBeUndefined();
  });

  test('one that goes on with nobody reading can be stopped', async () => {
    const first = client({ ...longAnswer, stream: true }, { 'x-millrace-on-disconnect': 'continue' });
    const id = await idOf(first);
    first.leave();
    expect(await running()).toBe(1);
    expect((await stack.post(`/v1/streams/${id}/stop`, {})).status).toBe(200);
    await until(async () => (await running()) === 0, SOON_MS);
  });
});

describe('several choices', () => {
  const three = { ...longAnswer, n: 3, stream: true };

  test('the client leaves: all of them end, running or waiting', async () => {
    const asking = client(three);
    await asking.response;
    await until(async () => (await running()) + (await waiting()) === 3);
    asking.leave();
    await until(async () => (await running()) + (await waiting()) === 0, SOON_MS);
    expect(await stack.metric('kv_cache_usage_perc')).toBe(0);
  });

  test('stop ends all of them well', async () => {
    const asking = client(three);
    const id = await idOf(asking);
    expect((await stack.post(`/v1/streams/${id}/stop`, {})).status).toBe(200);
    const text = await (await asking.response).text();
    const finishes = [...text.matchAll(/"index":(\d).*"finish_reason":"(\w+)"/g)].map(([, ...found]) => found);
    expect(finishes).toEqual(['0', '1', '2'].map((index) => [index, 'stop']));
    expect(text.endsWith('data: [DONE]\n\n')).toBe(true);
  });
});

test('stop is its own endpoint and ends the stream well', async () => {
  const { response } = client({ ...longAnswer, stream: true });
  const id = await idOf({ response, leave: () => {} });
  const stopped = await stack.post(`/v1/streams/${id}/stop`, {});
  expect(await stopped.json()).toEqual({ id, object: 'stream', stopped: true });
  // The same for who reads it again, from its start or from its end.
  const again = (offset: string) => stack.get(`/v1/streams/${id}${offset}`);
  for (const read of [() => response, () => again(''), () => again('?offset=1')]) {
    const events: string[] = [];
    for await (const { data } of sseEvents(await read())) events.push(data);
    expect(events.at(-1)).toBe('[DONE]');
    expect(JSON.parse(events.at(-2) ?? '')).toMatchObject({ choices: [{ finish_reason: 'stop' }] });
  }
  // Too late: it has ended.
  const late = await stack.post(`/v1/streams/${id}/stop`, {});
  expect(await late.json()).toMatchObject({ stopped: false });
});
