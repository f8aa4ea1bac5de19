import { connect, type NatsConnection } from '@nats-io/transport-node';
import { expect, test, vi } from 'vitest';
import { startNats, type NatsServer } from '../../../infra/dev/nats.ts';
import { startWorker } from '../../../infra/dev/worker.ts';
import type { Frame, FrameBatch } from '../../../shared/protocol.ts';
import { DEFAULT_SAMPLING } from '../../../shared/sampling.ts';
import { modelKey, subjects } from '../../../shared/subjects.ts';

const MODEL = 'tiny-llama';
const ID = 'w1';
const WAIT = { timeout: 25_000, interval: 20 };

async function gateway(nats: NatsServer): Promise<{ connection: NatsConnection; frames: Frame[] }> {
  const connection = await connect({
    ...{ servers: nats.url, user: nats.gateway.user, pass: nats.gateway.password, inboxPrefix: '_INBOX_gateway' },
    ...{ reconnectTimeWait: 100, maxReconnectAttempts: -1 },
  });
  const frames: Frame[] = [];
  connection.subscribe(subjects.gateway('s0'), {
    callback: (_, message) => {
      const batch = message.json<FrameBatch>();
      frames.push(...batch.frames);
      const { shard, shardEpoch, seq } = batch;
      connection.publish(subjects.control(ID), JSON.stringify({ v: 1, type: 'ack', shard, shardEpoch, seq }));
    },
  });
  await connection.flush();
  return { connection, frames };
}

async function request(connection: NatsConnection, subject: string, message: object): Promise<object> {
  return (await connection.request(subject, JSON.stringify(message), { timeout: 5000 })).json();
}

function submit(connection: NatsConnection, id: string): Promise<object> {
  return request(connection, subjects.submit(modelKey(MODEL), ID), {
    ...{ v: 1, id, attempt: 1, shard: 's0', shardEpoch: 'e1', tenant: 't', model: MODEL },
    ...{ prompt: { type: 'tokens', ids: [5, 6, 7] }, deadlineMs: Date.now() + 60_000, priority: 0 },
    params: { ...DEFAULT_SAMPLING, temperature: 0, maxTokens: 200, ignoreEos: true },
  });
}

const flags = ['--worker-id', ID, '--max-num-seqs', '2'];
const model = `test/fixtures/${MODEL}`;
const endsOf = (frames: readonly Frame[]) => frames.filter(({ type }) => type.startsWith('stream-'));

test('SIGTERM: what was admitted is finished, then the process ends well', async () => {
  await using nats = await startNats();
  await using worker = await startWorker({ nats, model, flags });
  const { connection, frames } = await gateway(nats);
  const ids = Array.from({ length: 20 }, (_, i) => `d${i}`);
  for (const reply of await Promise.all(ids.map((id) => submit(connection, id))))
    expect(reply).toMatchObject({ type: 'admitted' });
  worker.child.process.kill('SIGTERM');
  expect(await worker.child.exited).toBe('code 0');
  await connection.flush();
  expect(endsOf(frames).map(({ id, type }) => `${id} ${type}`)).toEqual(
    expect.arrayContaining(ids.map((id) => `${id} stream-end`)),
  );
  await expect(submit(connection, 'late')).rejects.toThrow(/no responders/i);
  await connection.close();
}, 60_000);

test('nats-server goes away and comes back: a replay has the whole stream', async () => {
  const first = await startNats();
  await using worker = await startWorker({ nats: first, model, flags });
  const { connection, frames } = await gateway(first);
  expect(await submit(connection, 'r')).toMatchObject({ type: 'admitted' });
  await first[Symbol.asyncDispose]();
  await using _second = await startNats({ like: first });
  const replay = { v: 1, type: 'replay', id: 'r', shard: 's0', shardEpoch: 'e2', offsets: [0] };
  await vi.waitFor(async () => {
    expect(await request(connection, subjects.control(ID), replay)).toEqual({ ok: true, found: true });
  }, WAIT);
  await vi.waitFor(() => expect(endsOf(frames).at(-1)).toMatchObject({ type: 'stream-end' }), WAIT);
  const offsets = new Set(
    frames.flatMap((frame) => (frame.type === 'text-delta' ? frame.ids.map((_, i) => frame.offset + i) : [])),
  );
  expect(offsets.size).toBe(200);
  expect(worker.child.running).toBe(true);
  await connection.close();
}, 60_000);
