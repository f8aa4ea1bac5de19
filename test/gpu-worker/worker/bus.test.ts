import { connect, type NatsConnection } from '@nats-io/transport-node';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { startNats, type NatsServer } from '../../../infra/dev/nats.ts';
import { startWorker, type WorkerProcess } from '../../../infra/dev/worker.ts';
import { ACK_INTERVAL_MS, type Frame, type FrameBatch, type Prompt } from '../../../shared/protocol.ts';
import { DEFAULT_SAMPLING, type SamplingParams } from '../../../shared/sampling.ts';
import { modelKey, subjects } from '../../../shared/subjects.ts';
import { slowSteps } from '../../support/slow-steps.ts';
import { MODEL, until } from '../../support/stack.ts';

/** Longer than a process may stand still on a busy machine. */
const LEASE_MS = 4000;
/** A step takes at least this long: what a test means to find under way is, however fast the machine. */
const STEP_MS = 5;
const ID = 'w1';

/** A gateway by hand: a NATS client that collects frames and acks them when told to. */
class HandGateway {
  readonly batches: FrameBatch[] = [];
  readonly shardEpoch: string;
  readonly #nats: NatsConnection;
  acking = true;

  constructor(nats: NatsConnection, shardEpoch: string) {
    this.#nats = nats;
    this.shardEpoch = shardEpoch;
    nats.subscribe(subjects.gateway('s0'), {
      callback: (_, message) => {
        const batch = message.json<FrameBatch>();
        if (batch.shardEpoch === shardEpoch) this.batches.push(batch);
      },
    });
    setInterval(() => {
      if (!this.acking || nats.isClosed()) return;
      const seq = this.batches.at(-1)?.seq ?? 0;
      nats.publish(subjects.control(ID), JSON.stringify({ v: 1, type: 'ack', shard: 's0', shardEpoch, seq }));
    }, ACK_INTERVAL_MS).unref();
  }

  frames(id: string): Frame[] {
    return this.batches.flatMap(({ frames }) => frames).filter((frame) => frame.id === id);
  }

  ids(id: string): number[] {
    return this.frames(id).flatMap((frame) => (frame.type === 'text-delta' ? frame.ids : []));
  }

  ends(id: string): Frame[] {
    return this.frames(id).filter(({ type }) => type === 'stream-end' || type === 'stream-error');
  }

  async request(subject: string, message: unknown): Promise<Record<string, unknown>> {
    const data = typeof message === 'string' ? message : JSON.stringify(message);
    return (await this.#nats.request(subject, data, { timeout: 15_000 })).json();
  }

  submit(id: string, params: Partial<SamplingParams> = {}, extra: object = {}): Promise<Record<string, unknown>> {
    const prompt: Prompt = { type: 'tokens', ids: [5, 6, 7] };
    return this.request(subjects.submit(modelKey(MODEL), ID), {
      ...{ v: 1, id, attempt: 1, shard: 's0', shardEpoch: this.shardEpoch, tenant: 't', model: MODEL, prompt },
      params: { ...DEFAULT_SAMPLING, temperature: 0, maxTokens: 200, ignoreEos: true, ...params },
      ...{ deadlineMs: Date.now() + 60_000, priority: 0 },
      ...extra,
    });
  }

  control(message: object): Promise<Record<string, unknown>> {
    return this.request(subjects.control(ID), { v: 1, ...message });
  }
}

let nats: NatsServer;
let worker: WorkerProcess;
let connection: NatsConnection;
let gateway: HandGateway;
const client = () =>
  connect({ servers: nats.url, user: nats.gateway.user, pass: nats.gateway.password, inboxPrefix: '_INBOX_gateway' });

beforeAll(async () => {
  nats = await startNats();
  const flags = ['--worker-id', ID, '--max-num-seqs', '2', '--lease-ms', String(LEASE_MS)];
  worker = await startWorker({ nats, model: `test/fixtures/${MODEL}`, flags, env: slowSteps(STEP_MS) });
  connection = await client();
  gateway = new HandGateway(connection, 'e1');
}, 180_000);
afterAll(async () => {
  await connection.close();
  await worker[Symbol.asyncDispose]();
  await nats[Symbol.asyncDispose]();
});

test('frames are numbered without a gap, offsets count tokens, one terminal frame', async () => {
  const reply = await gateway.submit('a', { maxTokens: 50 });
  expect(reply).toMatchObject({ type: 'admitted', worker: ID, promptTokens: 3 });
  await until(() => gateway.ends('a').length > 0);
  expect(gateway.batches.map(({ seq }) => seq)).toEqual(gateway.batches.map((_, i) => i + 1));
  let expected = 0;
  for (const frame of gateway.frames('a')) {
    if (frame.type !== 'text-delta') continue;
    expect(frame.offset).toBe(expected);
    expected += frame.ids.length;
  }
  expect(expected).toBe(50);
  expect(gateway.ends('a')).toMatchObject([{ type: 'stream-end', usage: { promptTokens: 3, completionTokens: 50 } }]);
});

test('a doubled submit is answered the same and runs once', async () => {
  const [first, second] = await Promise.all([
    gateway.submit('twice', { maxTokens: 5 }),
    gateway.submit('twice', { maxTokens: 5 }),
  ]);
  expect(second).toEqual(first);
  await until(() => gateway.ends('twice').length > 0);
  expect(gateway.ids('twice')).toHaveLength(5);
});

test('cancel in every phase: queued, prefill, decode; ended and unknown ids are told apart', async () => {
  const ids = Array.from({ length: 60 }, (_, i) => `c${i}`);
  await Promise.all(ids.map((id) => gateway.submit(id)));
  const replies = await Promise.all(ids.map((id) => gateway.control({ type: 'cancel', id })));
  for (const reply of replies) expect(reply).toEqual({ ok: true, found: true });
  await until(() => ids.every((id) => gateway.ends(id).length > 0));
  const ends = ids.flatMap((id) => gateway.ends(id));
  expect(ends).toHaveLength(ids.length);
  const cancelled = ends.filter((end) => end.type === 'stream-error' && end.code === 'request_cancelled');
  expect(cancelled.length).toBeGreaterThanOrEqual(20);
  // Two slots: the rest were cancelled in the queue and have drawn nothing.
  expect(
    cancelled.filter((end) => end.type === 'stream-error' && end.usage?.completionTokens === 0).length,
  ).toBeGreaterThanOrEqual(15);
  expect(await gateway.control({ type: 'cancel', id: 'nobody' })).toEqual({ ok: true, found: false });
  expect(await gateway.control({ type: 'probe' })).toMatchObject({ load: { running: 0, waiting: 0, kvTokens: 0 } });
});

test('a new gateway epoch replays from an offset, token for token', async () => {
  await gateway.submit('r', { maxTokens: 60 });
  await until(() => gateway.ends('r').length > 0);
  const next = new HandGateway(connection, 'e2');
  const replay = { type: 'replay', id: 'r', shard: 's0', shardEpoch: 'e2', offsets: [20] };
  expect(await gateway.control(replay)).toEqual({ ok: true, found: true });
  await until(() => next.ends('r').length > 0);
  expect(next.batches[0]?.seq).toBe(1);
  expect(next.ids('r')).toEqual(gateway.ids('r').slice(20));
  expect(await gateway.control({ ...replay, id: 'nobody' })).toEqual({ ok: true, found: false });
});

test('a gateway that goes silent loses its lease: its requests end, other gateways keep theirs', async () => {
  const silent = new HandGateway(connection, 'silent');
  silent.acking = false;
  // Two slots, and 200 steps each: 100 s of work.
  await Promise.all(Array.from({ length: 200 }, (_, i) => silent.submit(`s${i}`)));
  await gateway.submit('bystander', { maxTokens: 5 }, { priority: 1 });
  await until(() => gateway.ends('bystander').length > 0);
  expect(gateway.ends('bystander')).toMatchObject([{ type: 'stream-end' }]);
  await until(async () => {
    const text = await (await fetch(`${worker.url}/metrics`)).text();
    return /request_failure_total\{code="lease_expired"\} [1-9]/.test(text);
  }, 20_000);
  await vi.waitFor(async () => {
    expect(await gateway.control({ type: 'probe' })).toMatchObject({ load: { running: 0, waiting: 0 } });
  }, 10_000);
});

describe('messages that cannot be handled are refused and hurt nobody', () => {
  test.each([
    ['not JSON', '{'],
    ['nothing', ''],
    ['another version', { v: 2 }],
    ['a wildcard id', { id: 'a.*' }],
    ['no params', { params: {} }],
  ])('%s', async (_, message) => {
    const subject = subjects.submit(modelKey(MODEL), ID);
    expect(await gateway.request(subject, message)).toMatchObject({ type: 'refused' });
    expect(await gateway.request(subjects.control(ID), message)).not.toMatchObject({ ok: true });
  });

  test.each([
    ['a deadline in the past', { deadlineMs: 1 }, 'deadline_exceeded'],
    ['a token the model does not have', { prompt: { type: 'tokens', ids: [1, 99_999] } }, 'invalid_value'],
    [
      'a prompt over the context',
      { prompt: { type: 'tokens', ids: Array.from({ length: 300 }, () => 1) } },
      'context_length_exceeded',
    ],
    ['another model', { model: 'other' }, 'model_not_found'],
  ])('%s', async (_, extra, code) => {
    expect(await gateway.submit('bad', {}, extra)).toMatchObject({ type: 'refused', code });
    expect(gateway.frames('bad')).toEqual([]);
  });
});

test('nats-server: nobody enters without a password, nobody leaves their subjects', async () => {
  await expect(connect({ servers: nats.url, maxReconnectAttempts: 0 })).rejects.toThrow(/authorization/i);
  const outsider = await connect({
    servers: nats.url,
    user: 'gateway',
    pass: nats.gateway.password,
    inboxPrefix: '_INBOX_gateway',
  });
  const denied = new Promise<Error | null>((resolve) => {
    outsider.subscribe('mr.v1.submit.>', { callback: (error) => resolve(error) });
  });
  expect(String(await denied)).toMatch(/permissions violation/i);
  await outsider.close();
});
