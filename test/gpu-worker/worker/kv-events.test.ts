/** KV events of a real worker process on a real nats-server: what it says is cached is what requests then find. */
import { afterAll, beforeAll, beforeEach, afterEach, describe, expect, test } from 'vitest';
import { startNats, type NatsServer } from '../../../infra/dev/nats.ts';
import { startWorker, type WorkerProcess } from '../../../infra/dev/worker.ts';
import { blocksOf } from '../../../shared/block-hash.ts';
import { decodeMessage, kvEventsSchema, type KvEvents, type Prompt } from '../../../shared/protocol.ts';
import { subjects } from '../../../shared/subjects.ts';
import { HandGateway } from '../../support/hand-gateway.ts';
import { MODEL, until } from '../../support/stack.ts';

const ID = 'w1';
const START = { model: `test/fixtures/${MODEL}`, flags: ['--worker-id', ID, '--max-num-seqs', '2'] };

let nats: NatsServer;
let worker: WorkerProcess;
let gateway: HandGateway;
let events: KvEvents[];
let tests = 0;

beforeAll(async () => {
  nats = await startNats();
  worker = await startWorker({ nats, ...START });
}, 180_000);
afterAll(async () => {
  await worker[Symbol.asyncDispose]();
  await nats[Symbol.asyncDispose]();
});

beforeEach(async () => {
  tests++;
  events = [];
  gateway = await HandGateway.connect(nats, { worker: ID, model: MODEL, shardEpoch: `e${tests}` });
  gateway.nats.subscribe('mr.v1.kv.>', {
    callback: (_, message) => {
      const event = decodeMessage(kvEventsSchema, message.data);
      expect(message.subject).toBe(subjects.kv(event.worker, event.shard));
      events.push(event);
    },
  });
  await gateway.nats.flush();
});
afterEach(() => gateway[Symbol.asyncDispose]());

const tokens = (seed: number, length = 200): Prompt => ({
  type: 'tokens',
  ids: Array.from({ length }, (_, i) => (i * 31 + seed * 17 + Math.floor(i / 7) * seed) % 500),
});
const blocksFor = (prompt: Prompt, salt = 't') => blocksOf(prompt, salt).map(({ size: _, ...block }) => block);

/** Submits and waits for the end; returns the prompt tokens that were found in the cache. */
async function run(id: string, prompt: Prompt, extra: object = {}): Promise<number> {
  const name = `${id}-${tests}`;
  const job = { prompt, blocks: blocksFor(prompt), ...extra };
  const reply = await gateway.submit(name, job, { maxTokens: 2, ignoreEos: true });
  expect(reply).toMatchObject({ type: 'admitted' });
  if ('shard' in extra) return 0;
  await until(() => gateway.ends(name).length > 0);
  const [end] = gateway.ends(name);
  return end?.type === 'stream-end' ? end.usage.cachedTokens : -1;
}

function held(shard = 's0'): Map<string, number> {
  const blocks = new Map<string, number>();
  for (const { evicted, stored, ...event } of events) {
    if (event.shard !== shard) continue;
    for (const hash of evicted) blocks.delete(hash);
    for (const [hash, length] of stored) blocks.set(hash, length);
  }
  return blocks;
}

const snapshot = async (shard = 's0') =>
  decodeMessage(
    kvEventsSchema,
    (
      await gateway.nats.request(subjects.control(ID), JSON.stringify({ v: 1, type: 'kv-snapshot', shard }), {
        timeout: 15_000,
      })
    ).data,
  );

describe('blocks of a request', () => {
  test('are stored when its prompt is computed, and found by the next request', async () => {
    const prompt = tokens(1);
    expect(await run('a', prompt)).toBe(0);
    await until(() => held().size > 0);
    const [half, whole] = blocksFor(prompt);
    expect([...held()]).toEqual([
      [half?.hash, 128],
      [whole?.hash, 200],
    ]);
    expect(await run('b', prompt)).toBeGreaterThan(180);
    // No news.
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(events).toHaveLength(1);
    expect(events[0]?.event).toBe((await snapshot()).event);
  });

  test('are evicted when others need the room, soon after it happened', async () => {
    const prompt = tokens(2);
    const hash = blocksFor(prompt)[0]?.hash ?? '';
    await run('a', prompt);
    await until(() => held().has(hash));
    for (let i = 0; i < 8; i++) await run(`other${i}`, tokens(10 + i));
    await until(() => !held().has(hash));
    expect(await run('again', prompt)).toBe(0);
    await until(() => held().has(hash));
    const numbers = events.map(({ event }) => event);
    expect(numbers).toEqual(numbers.map((_, i) => (numbers[0] ?? 0) + i));
    const stored = new Map((await snapshot()).stored);
    for (const [each, length] of held()) expect(stored.get(each)).toBe(length);
    expect(stored.size).toBeLessThan(12);
  });

  test('go to the shard that submitted them, and to another once it asks for the same', async () => {
    const prompt = tokens(3);
    const hash = blocksFor(prompt)[0]?.hash ?? '';
    await run('a', prompt, { shard: 's7' });
    await until(() => held('s7').has(hash));
    expect(held().has(hash)).toBe(false);
    expect((await snapshot()).stored.map(([each]) => each)).not.toContain(hash);
    expect((await snapshot('s7')).stored).toContainEqual([hash, 128]);
    await run('b', prompt);
    await until(() => held().has(hash));
  });

  test('of one that was cancelled in line are not there', async () => {
    const ids = Array.from({ length: 6 }, (_, i) => `c${i}-${tests}`);
    const prompts = ids.map((_, i) => tokens(30 + i));
    const jobs = ids.map((id, i) => {
      const prompt = prompts[i] ?? tokens(0);
      return gateway.submit(id, { prompt, blocks: blocksFor(prompt) }, { maxTokens: 50, ignoreEos: true });
    });
    await Promise.all(jobs);
    await Promise.all(ids.map((id) => gateway.control({ type: 'cancel', id })));
    await until(() => ids.every((id) => gateway.ends(id).length > 0));
    await new Promise((resolve) => setTimeout(resolve, 100));
    const last = prompts.at(-1) ?? tokens(0);
    const known = (await snapshot()).stored.some(([hash]) => hash === blocksFor(last)[0]?.hash);
    expect((await run('check', last)) > 100).toBe(known);
  });
});

test('heartbeats tell the pace of prompts and what is queued', async () => {
  await run('pace', tokens(50));
  expect(await gateway.control({ type: 'probe' })).toMatchObject({
    load: { queuedPrefillTokens: 0, prefillTokensPerSecond: expect.any(Number) },
  });
});

test.each([
  ['a hash that is none', [{ hash: 'xyz', message: 0, end: 10 }]],
  ['too many', Array.from({ length: 257 }, () => ({ hash: '0'.repeat(16), message: 0, end: 10 }))],
  ['an end before the beginning', [{ hash: '0'.repeat(16), message: 0, end: -1 }]],
])('blocks that are not well formed refuse the submit: %s', async (_, blocks) => {
  expect(await gateway.submit('bad', { blocks })).toMatchObject({ type: 'refused', code: 'invalid_value' });
});

test('a snapshot of an ill-named shard is refused; of one never heard of it is empty', async () => {
  expect(await gateway.control({ type: 'kv-snapshot', shard: 'a.*' })).toEqual({ ok: false });
  expect(await snapshot('never')).toMatchObject({ event: 0, stored: [], evicted: [] });
});

test('a worker that starts anew begins its numbers and its cache again, under a new epoch', async () => {
  await run('a', tokens(60));
  await until(() => events.length > 0);
  const before = await snapshot();
  await worker[Symbol.asyncDispose]();
  worker = await startWorker({ nats, ...START });
  expect(await snapshot()).toMatchObject({ event: 0, stored: [] });
  expect((await snapshot()).epoch).not.toBe(before.epoch);
  events = [];
  await run('b', tokens(60));
  await until(() => events.length > 0);
  expect(events[0]?.event).toBe(1);
}, 60_000);
