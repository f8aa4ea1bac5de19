import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { readConfig } from '../../../gpu-worker/config.ts';
import { PLAIN_DEFAULTS } from '../../../gpu-worker/model/generation-config.ts';
import { Metrics } from '../../../gpu-worker/metrics.ts';
import { BusWorker } from '../../../gpu-worker/worker.ts';
import { startNats, type NatsServer } from '../../../infra/dev/nats.ts';
import { MillraceError } from '../../../shared/errors.ts';
import type { Prompt } from '../../../shared/protocol.ts';
import { modelKey, subjects } from '../../../shared/subjects.ts';
import { BYTE_TOKENS } from '../../support/engine-world.ts';
import { HandGateway } from '../../support/hand-gateway.ts';
import { ScriptedEngine } from '../../support/scripted-engine.ts';
import { until } from '../../support/stack.ts';

/** Long enough for any stall of this process or of nats-server; tests that need it over set the clock on. */
const LEASE_MS = 20_000;
const [ID, MODEL, ALIAS] = ['w1', 'model', 'alias'];
/** Every text takes this long to tokenize. */
const ENCODE_MS = 20;
let encoded = 0;

const encoder = {
  fewestTokens: (prompt: Prompt) => (prompt.type === 'tokens' ? prompt.ids.length : 1),
  encode: (prompt: Prompt) => {
    if (prompt.type === 'tokens') return Int32Array.from(prompt.ids);
    encoded++;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ENCODE_MS);
    return Int32Array.of(1);
  },
  reasoning: () => null,
};

let nats: NatsServer;
let engine: ScriptedEngine;
let worker: BusWorker;
let gateway: HandGateway;
let drains = 0;
const logs: Record<string, unknown>[] = [];

const trueNow = Date.now.bind(Date);
let aheadMs = 0;
/** As if so much time passed at once. */
function setClockOn(ms: number): void {
  aheadMs += ms;
  vi.spyOn(Date, 'now').mockImplementation(() => trueNow() + aheadMs);
}
/** Time for a sweep or two. */
const sweeps = () => new Promise((resolve) => setTimeout(resolve, 600));

async function startBusWorker(flags: readonly string[] = ['--lease-ms', String(LEASE_MS)]): Promise<BusWorker> {
  const args = ['--worker-id', ID, '--served-model-name', `${MODEL},${ALIAS}`];
  const env = { NATS_URL: nats.url, NATS_USER: nats.worker.user, NATS_PASSWORD: nats.worker.password };
  const config = readConfig([...args, '--max-waiting', '8', ...flags], env);
  if (config === null) throw new Error('no config');
  return BusWorker.start({
    ...{
      config,
      engine,
      encoder,
      tokenBytes: BYTE_TOKENS,
      defaults: PLAIN_DEFAULTS,
      metrics: new Metrics(),
      log: (entry: object) => void logs.push({ ...entry }),
    },
    onDrain: () => void drains++,
    onLost: (reason) => void logs.push({ event: 'lost', reason }),
  });
}

beforeAll(async () => {
  nats = await startNats();
}, 300_000);
afterAll(() => nats[Symbol.asyncDispose]());

beforeEach(async () => {
  engine = new ScriptedEngine();
  logs.length = 0;
  drains = 0;
  encoded = 0;
  aheadMs = 0;
  worker = await startBusWorker();
  gateway = await HandGateway.connect(nats, { worker: ID, model: MODEL, shardEpoch: 'e1' });
});
afterEach(async () => {
  vi.restoreAllMocks();
  vi.useRealTimers();
  await gateway[Symbol.asyncDispose]();
  await worker.close();
  expect(logs.filter(({ event }) => event === 'lost' || event === 'publish-failed')).toEqual([]);
});

describe('submit', () => {
  test('one message a step carries every request’s delta; the end comes last, once', async () => {
    await Promise.all([gateway.submit('a'), gateway.submit('b')]);
    engine.step();
    engine.finish('a.1');
    await until(() => gateway.ends('a').length > 0);
    expect(gateway.batches[0]?.frames.map(({ id }) => id).toSorted()).toEqual(['a', 'b']);
    expect(gateway.frames('a').map(({ type }) => type)).toEqual([
      ...['text-delta', 'text-delta', 'choice-end', 'stream-end'],
    ]);
    expect(logs.find(({ event }) => event === 'ended')).toMatchObject({
      ...{ request: 'a', attempt: 1, finish: 'stop', promptTokens: 3, completionTokens: 2, prefillMs: 2 },
    });
  });

  test('by alias and through the queue group of either name', async () => {
    for (const [id, name] of Object.entries({ x: MODEL, y: ALIAS })) {
      const reply = await gateway.request(subjects.submitAny(modelKey(name)), gateway.job(id, { model: name }));
      expect(reply).toMatchObject({ type: 'admitted', worker: ID });
    }
    expect([...engine.live.keys()]).toEqual(['x.1', 'y.1']);
  });

  test('the same attempt again gets the same reply, in line, while it runs and after its end', async () => {
    const prompt = { type: 'text', text: 'x' };
    const [first, doubled] = await Promise.all([gateway.submit('a', { prompt }), gateway.submit('a', { prompt })]);
    expect(first).toMatchObject({ type: 'admitted', promptTokens: 1 });
    expect(doubled).toEqual(first);
    expect(await gateway.submit('a', { prompt })).toEqual(first);
    engine.finish('a.1');
    expect(await gateway.submit('a', { prompt })).toEqual(first);
    expect(engine.live.size).toBe(0);
  });

  test('a later attempt replaces an earlier one and goes on after its tokens; an earlier one is refused', async () => {
    await gateway.submit('a');
    engine.step(3);
    expect(await gateway.submit('a', { attempt: 2, generatedIds: [0, 1, 2] })).toMatchObject({ type: 'admitted' });
    expect(engine.aborts).toEqual([{ id: 'a.1', code: 'request_cancelled' }]);
    engine.step();
    engine.finish('a.2');
    await until(() => gateway.ends('a').length > 0);
    expect(gateway.output('a')).toEqual([0, 1, 2, 3, 4]);
    expect(gateway.ends('a')).toMatchObject([{ type: 'stream-end', attempt: 2 }]);
    expect(await gateway.submit('a')).toMatchObject({ type: 'refused', param: 'attempt' });
    // What came before this attempt is not here: a replay starts where it does.
    const before = gateway.batches.length;
    await gateway.replay('a', 0);
    await until(() => gateway.batches.length > before);
    expect(
      gateway
        .frames('a')
        .filter(({ type }) => type === 'text-delta')
        .at(-1),
    ).toMatchObject({ offset: 3 });
  });

  test.each([
    ['outside the vocabulary', [512]],
    ['as many as may be generated', [1, 2, 3, 4, 5]],
  ])('generated ids %s are refused', async (_, generatedIds) => {
    const reply = await gateway.submit('g', { attempt: 2, generatedIds }, { maxTokens: 5 });
    expect(reply).toMatchObject({ type: 'refused', code: 'invalid_value', param: 'generatedIds' });
  });

  test('a burst beyond the limit is refused at once; what is in line counts', async () => {
    const prompt = { type: 'text', text: 'x' };
    // The line stands still.
    vi.useFakeTimers({ toFake: ['setImmediate'] });
    const refused: Record<string, unknown>[] = [];
    const replies = Array.from({ length: 100 }, async (_, i) => {
      const reply = await gateway.submit(`b${i}`, { prompt });
      if (reply['type'] === 'refused') refused.push(reply);
      return reply;
    });
    // 4 slots and 8 that wait.
    await until(() => refused.length === 88);
    for (const reply of refused) expect(reply).toMatchObject({ code: 'slow_down', retryAfterMs: 1000 });
    expect(encoded).toBe(0);
    vi.runAllTimers();
    const admitted = (await Promise.all(replies)).filter(({ type }) => type === 'admitted');
    expect(admitted).toHaveLength(12);
    expect(encoded).toBe(12);
    expect(engine.live.size).toBe(12);
  });

  test('what stands in line can be cancelled and never reaches the engine', async () => {
    const prompt = { type: 'text', text: 'x' };
    // Nobody's turn comes before the cancel has arrived.
    vi.useFakeTimers({ toFake: ['setImmediate'] });
    const first = gateway.submit('first', { prompt });
    const second = gateway.submit('second', { prompt });
    const cancelled = gateway.control({ type: 'cancel', id: 'second' });
    expect(await cancelled).toEqual({ ok: true, found: true });
    expect(await second).toMatchObject({ type: 'refused', code: 'request_cancelled' });
    vi.runAllTimers();
    expect(await first).toMatchObject({ type: 'admitted' });
    expect([...engine.live.keys()]).toEqual(['first.1']);
  });
});

describe('messages that cannot be read hurt nobody', () => {
  const bad: readonly string[] = ['', '{', '[]', 'null', '{"v":1}', '{"v":1,"type":"nothing"}', '\u0000', '"\ud800"'];

  test.each([
    ['submit', () => subjects.submit(modelKey(MODEL), ID), { type: 'refused' }],
    ['submitAny', () => subjects.submitAny(modelKey(MODEL)), { type: 'refused' }],
    ['control', () => subjects.control(ID), { ok: false }],
    ['controlAll', () => subjects.controlAll, { ok: false }],
  ])('on %s', async (_, subject, reply) => {
    for (const message of bad) expect(await gateway.request(subject(), message)).toMatchObject(reply);
    expect(await gateway.submit('after')).toMatchObject({ type: 'admitted' });
  });

  test('a roll call is answered by all, but orders go to one worker', async () => {
    const all = (message: object) => gateway.request(subjects.controlAll, { v: 1, ...message });
    expect(await all({ type: 'probe' })).toMatchObject({ worker: ID, models: [MODEL, ALIAS], status: 'ready' });
    expect(await all({ type: 'drain' })).toEqual({ ok: false });
    expect(drains).toBe(0);
    expect(await gateway.control({ type: 'drain' })).toEqual({ ok: true });
    expect(drains).toBe(1);
  });
});

describe('frames that do not arrive', () => {
  test('a loss shows in the numbers without new tokens, and a replay brings the rest', async () => {
    await gateway.submit('a');
    engine.step(5);
    await until(() => gateway.batches.length === 1);
    gateway.deaf = true;
    engine.step(5);
    engine.finish('a.1');
    await gateway.control({ type: 'probe' });
    gateway.deaf = false;
    await until(() => gateway.batches.length > 1);
    // 2 and 3 were lost; an empty batch comes every second until they are acked.
    expect(gateway.batches[1]?.seq).toBeGreaterThanOrEqual(4);
    expect(gateway.batches[1]?.frames).toEqual([]);
    expect(await gateway.replay('a', 5)).toEqual({ ok: true, found: true });
    await until(() => gateway.ends('a').length > 0);
    expect(gateway.output('a')).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  });

  test('a gateway silent for longer than its lease between requests is numbered on', async () => {
    await gateway.submit('a');
    engine.finish('a.1');
    await until(() => gateway.ends('a').length > 0);
    gateway.ack();
    gateway.acking = false;
    await gateway.control({ type: 'probe' });
    setClockOn(LEASE_MS + 1);
    await sweeps();
    gateway.acking = true;
    await gateway.submit('b');
    engine.finish('b.1');
    await until(() => gateway.ends('b').length > 0);
    // Where an ack came late, an empty batch may have a number too.
    expect(gateway.seqs).toEqual(gateway.seqs.map((_, i) => i + 1));
    expect(engine.aborts).toEqual([]);
  });

  test('the lease: requests of a silent gateway end, in line with its other epochs’ going on', async () => {
    await using silent = await HandGateway.connect(nats, { worker: ID, model: MODEL, shardEpoch: 'gone' });
    silent.acking = false;
    await Promise.all([silent.submit('orphan'), gateway.submit('kept')]);
    engine.step();
    setClockOn(LEASE_MS - 5000);
    gateway.ack();
    await gateway.control({ type: 'probe' });
    expect(engine.aborts).toEqual([]);
    // Over for one, and far from it for the other.
    setClockOn(5000);
    await until(() => engine.aborts.length > 0);
    expect(engine.aborts[0]).toEqual({ id: 'orphan.1', code: 'lease_expired' });
    expect([...engine.live.keys()]).toEqual(['kept.1']);
    await until(() => silent.ends('orphan').length > 0);
    expect(silent.ends('orphan')).toMatchObject([{ type: 'stream-error', code: 'lease_expired' }]);
  });

  test('nats-server restarts in mid-stream: the stream goes on without a hole', async () => {
    await gateway.submit('a');
    engine.step(5);
    await until(() => gateway.batches.length === 1);
    nats.child.kill('SIGKILL');
    await nats.child.exited;
    for (let i = 0; i < 20; i++) {
      engine.step();
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    const before = gateway.batches.length;
    nats = await startNats({ like: nats });
    await until(() => gateway.batches.length > before);
    engine.finish('a.1');
    // What was published while nobody had noticed yet is lost: the hole is filled by a replay, as gateways do it.
    const seqs = () => gateway.seqs;
    await until(() => gateway.ends('a').length > 0);
    if (seqs().some((seq, i) => seq !== i + 1)) await gateway.replay('a', 5);
    await until(() => new Set(gateway.frames('a').flatMap((f) => (f.type === 'text-delta' ? f.ids : []))).size === 26);
    expect(logs.map(({ event }) => event)).toEqual(expect.arrayContaining(['bus-disconnected', 'bus-reconnected']));
    expect(await gateway.submit('after')).toMatchObject({ type: 'admitted' });
  });
});

describe('leaving', () => {
  test('draining refuses new work, tells the fleet, lets what runs end, and leaves when it is acked', async () => {
    await gateway.submit('a');
    const gone = worker.drain();
    expect(await gateway.submit('b')).toMatchObject({ type: 'refused', code: 'draining' });
    expect(await gateway.control({ type: 'probe' })).toMatchObject({ status: 'draining' });
    // Nobody takes from the queue group any more.
    await expect(gateway.request(subjects.submitAny(modelKey(MODEL)), gateway.job('c'))).rejects.toThrow(/responders/);
    engine.step();
    engine.finish('a.1');
    await gone;
    expect(gateway.ends('a')).toMatchObject([{ type: 'stream-end' }]);
    await expect(gateway.submit('d')).rejects.toThrow(/responders/);
  });

  test('draining is bounded: what does not end in time ends in an error, even when the engine is stuck', async () => {
    await worker.close();
    worker = await startBusWorker(['--drain-timeout-ms', '100']);
    await Promise.all([gateway.submit('a'), gateway.submit('b')]);
    engine.obeys = false;
    await worker.drain();
    for (const id of ['a', 'b']) {
      expect(gateway.ends(id)).toMatchObject([{ type: 'stream-error', code: 'draining' }]);
    }
  });

  test('a failing worker ends every live request in an error with what was computed, then leaves', async () => {
    await Promise.all([gateway.submit('a'), gateway.submit('b')]);
    engine.step(7, 'a.1');
    await worker.fail(new MillraceError('server_error', 'It broke.'));
    const usage = { promptTokens: 3, completionTokens: 7, cachedTokens: 0 };
    expect(gateway.ends('a')).toMatchObject([{ type: 'stream-error', code: 'server_error', usage }]);
    expect(gateway.ends('b')).toHaveLength(1);
  });

  test('without a server it can still be closed', async () => {
    await worker.close();
    // It waits for acks, at most for as long as the lease.
    worker = await startBusWorker(['--lease-ms', '1500']);
    await gateway.submit('a');
    nats.child.kill('SIGKILL');
    await nats.child.exited;
    await worker.fail(new MillraceError('server_error', 'It broke.'));
    nats = await startNats({ like: nats });
  });
});

test('wrong credentials are an error at the start, not a worker that waits for ever', async () => {
  const env = { NATS_URL: nats.url, NATS_USER: 'worker', NATS_PASSWORD: 'wrong' };
  const config = readConfig([], env);
  if (config === null) throw new Error('no config');
  const none = () => {};
  const hooks = { log: none, onDrain: none, onLost: none };
  const parts = {
    config,
    engine,
    encoder,
    tokenBytes: BYTE_TOKENS,
    defaults: PLAIN_DEFAULTS,
    metrics: new Metrics(),
    ...hooks,
  };
  await expect(BusWorker.start(parts)).rejects.toThrow(/authorization/i);
});
