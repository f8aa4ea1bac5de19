/** A gateway's fleet beside two real worker processes: requests go where their prefix is, by the workers' own events. */
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { Bus } from '../../../edge/bus.ts';
import { Fleet } from '../../../edge/fleet.ts';
import { LiveRequest } from '../../../edge/live-request.ts';
import { lookupOf } from '../../../edge/prefix/router.ts';
import { startNats, type NatsServer } from '../../../infra/dev/nats.ts';
import { startWorker, type WorkerProcess } from '../../../infra/dev/worker.ts';
import type { KvEvents, Submit } from '../../../shared/protocol.ts';
import { DEFAULT_SAMPLING } from '../../../shared/sampling.ts';
import { modelKey, subjects } from '../../../shared/subjects.ts';
import { until } from '../../support/stack.ts';

const MODEL = 'millrace-mini';
const WORKERS = ['w0', 'w1'];
const SHARD = 's0';
/** For an answer of a worker that may stall. */
const WAIT_MS = 15_000;
const BUSY = { running: 1, waiting: 0 };

let nats: NatsServer;
let spy: NatsConnection;
let workers: WorkerProcess[];
let bus: Bus;
let fleet: Fleet;
let shardEpoch = '';
let count = 0;

async function startFleet(): Promise<void> {
  const { user, password } = nats.gateway;
  bus = await Bus.connect({ url: nats.wsUrl, user, password, name: 'test' });
  shardEpoch = `e${++count}`;
  fleet = await Fleet.start({ bus, shard: SHARD, shardEpoch, submitTimeoutMs: WAIT_MS });
  await until(() => fleet.workers().length === WORKERS.length);
  await settle();
}

/**
 * The fleet knows what its workers hold, and that they are idle: all that a worker said comes before its answer on the
 * same connection, and a probe brings a heartbeat. What the fleet asks of a worker new to it is answered by the second.
 */
async function settle(): Promise<void> {
  for (const worker of [...WORKERS, ...WORKERS]) {
    await until(async () => {
      await bus.request(subjects.control(worker), { v: 1, type: 'probe' }, WAIT_MS);
      const { running, waiting } = fleet.workers().find((known) => known.worker === worker)?.load ?? BUSY;
      return running + waiting === 0;
    });
  }
}

beforeAll(async () => {
  nats = await startNats();
  const flags = (id: string) => ['--worker-id', id, '--max-num-seqs', '4', '--max-model-len', '1024'];
  const model = `models/${MODEL}`;
  workers = await Promise.all(WORKERS.map((id) => startWorker({ nats, model, flags: flags(id) })));
  const { user, password: pass } = nats.gateway;
  spy = await connect({ servers: nats.url, user, pass, inboxPrefix: '_INBOX_gateway' });
}, 240_000);
afterAll(async () => {
  await spy.close();
  for (const worker of workers) await worker[Symbol.asyncDispose]();
  await nats[Symbol.asyncDispose]();
});
beforeEach(startFleet);

/** Whole blocks: next to nothing of a prompt that goes on from here is not held. */
const PREFIX_TOKENS = 5 * 128;

/** Tokens of their own for each seed. */
const prefix = (seed: number): number[] => {
  return Array.from({ length: PREFIX_TOKENS }, (_, i) => 10 + ((i * 31 + seed * 17 + Math.floor(i / 7) * seed) % 6000));
};

function jobOf(ids: number[], tenant = 't'): Submit {
  return {
    ...{ v: 1, id: `r${++count}`, attempt: 1, shard: SHARD, shardEpoch, tenant, model: MODEL, priority: 0 },
    ...{ prompt: { type: 'tokens', ids }, params: { ...DEFAULT_SAMPLING, maxTokens: 2, ignoreEos: true } },
    ...{ speculation: 'auto', cacheSalt: '', templateValues: {}, deadlineMs: Date.now() + 60_000 },
  };
}

/** Through the fleet, to whichever worker it picks. */
async function run(ids: number[], tenant?: string): Promise<{ worker: string; cachedTokens: number }> {
  const job = jobOf(ids, tenant);
  const open = (worker: string, epoch: string) =>
    new LiveRequest({ id: job.id, attempt: 1, worker, epoch, offsets: [0], whole: true, continues: false });
  const { live } = await fleet.submit(job, open);
  await until(() => live.ended);
  fleet.detach(live);
  const { end, error } = live.take();
  if (end === null) throw new Error(`${job.id} failed`, { cause: error });
  return { worker: live.worker, cachedTokens: end.usage.cachedTokens };
}

/** The worker holds all of it, and has said so. */
async function held(worker: string, ids: number[]): Promise<void> {
  const last = lookupOf(jobOf(ids)).blocks.at(-1)?.hash;
  const ask = JSON.stringify({ v: 1, type: 'kv-snapshot', shard: SHARD });
  await until(async () => {
    const snapshot = await spy.request(subjects.control(worker), ask, { timeout: WAIT_MS });
    return snapshot.json<KvEvents>().stored.some(([hash]) => hash === last);
  });
}

/** Past the fleet, to one worker, as another gateway would; returns once its blocks are held. */
async function runOn(worker: string, ids: number[]): Promise<void> {
  const job = jobOf(ids);
  const blocks = lookupOf(job).blocks.map(({ hash, message, end }) => ({ hash, message, end }));
  const subject = subjects.submit(modelKey(MODEL), worker);
  const reply = await spy.request(subject, JSON.stringify({ ...job, blocks }), { timeout: WAIT_MS });
  expect(reply.json()).toMatchObject({ type: 'admitted' });
  await held(worker, ids);
}

/** Six requests that begin with this prefix. */
async function holders(seed: number): Promise<{ worker: string; cachedTokens: number }[]> {
  const runs = [];
  for (let i = 0; i < 6; i++) runs.push(await run([...prefix(seed), i, i, i]));
  return runs;
}

test('a prompt goes to the worker that holds its prefix, every time', async () => {
  const first = await run(prefix(1));
  expect(first.cachedTokens).toBe(0);
  await held(first.worker, prefix(1));
  await settle();
  for (const { worker, cachedTokens } of await holders(1)) {
    expect(worker).toBe(first.worker);
    expect(cachedTokens).toBeGreaterThan(PREFIX_TOKENS - 20);
  }
});

test('by the worker’s word alone: the gateway has sent nothing there itself', async () => {
  for (const [i, worker] of WORKERS.entries()) {
    await runOn(worker, prefix(10 + i));
    await settle();
    for (const each of await holders(10 + i)) expect(each.worker).toBe(worker);
  }
});

test('a gateway that has just started is told what is held', async () => {
  await runOn('w1', prefix(3));
  await startFleet();
  for (const each of await holders(3)) expect(each.worker).toBe('w1');
});

test('after its eviction a prefix draws nobody to its old holder', async () => {
  await runOn('w0', prefix(4));
  await settle();
  expect((await run([...prefix(4), 1])).worker).toBe('w0');
  for (let i = 0; i < 12; i++) await runOn('w0', prefix(100 + i));
  await settle();
  await runOn('w1', prefix(4));
  await settle();
  for (const { worker, cachedTokens } of await holders(4)) {
    expect(worker).toBe('w1');
    expect(cachedTokens).toBeGreaterThan(PREFIX_TOKENS - 20);
  }
}, 90_000);

test('another tenant’s prompts match nothing, whoever holds the same text', async () => {
  await runOn('w0', prefix(5));
  await settle();
  // At once: alone, each might go to the worker that was a little faster of late.
  const runs = await Promise.all(Array.from({ length: 12 }, (_, i) => run([...prefix(5), 1], `other${i}`)));
  expect(runs.map(({ cachedTokens }) => cachedTokens)).toEqual(runs.map(() => 0));
  expect(new Set(runs.map(({ worker }) => worker)).size).toBe(2);
}, 90_000);

test('a worker that starts anew holds nothing', async () => {
  await runOn('w1', prefix(6));
  await settle();
  expect((await run([...prefix(6), 1])).worker).toBe('w1');
  await workers[1]?.[Symbol.asyncDispose]();
  const flags = ['--worker-id', 'w1', '--max-num-seqs', '4', '--max-model-len', '1024'];
  workers[1] = await startWorker({ nats, model: `models/${MODEL}`, flags });
  await settle();
  await runOn('w0', prefix(6));
  await settle();
  for (const each of await holders(6)) expect(each.worker).toBe('w0');
}, 90_000);

test('messages that are no KV events, or lie, break nothing', async () => {
  const { user, password: pass } = nats.worker;
  const liar = await connect({ servers: nats.url, user, pass, inboxPrefix: '_INBOX_worker' });
  const [known] = fleet.workers();
  const lie = (extra: object) => {
    const head = { v: 1, worker: known?.worker, epoch: known?.epoch, shard: SHARD, event: 1_000_000 };
    const message = { ...head, stored: [], evicted: [], ...extra };
    liar.publish(subjects.kv('w0', SHARD), JSON.stringify(message));
  };
  for (const data of ['', '{', '{}', 'null']) liar.publish(subjects.kv('w0', SHARD), data);
  lie({ worker: 'nobody' });
  lie({ stored: [['not a hash', 1]] });
  for (let i = 0; i < 50; i++) lie({ event: 1_000_000 - 7 * i, stored: [['f'.repeat(16), 1e9]] });
  await liar.flush();
  await liar.close();
  await settle();
  await runOn('w0', prefix(7));
  // The snapshot that the gap asked for has put things right.
  await settle();
  for (const each of await holders(7)) expect(each.worker).toBe('w0');
}, 90_000);
