/** Fencing on a real nats-server: what an older incarnation or attempt of a request sends changes nothing. */
import { afterAll, beforeAll, beforeEach, afterEach, describe, expect, it } from 'vitest';
import { Bus } from '../../edge/bus.ts';
import { Fleet } from '../../edge/fleet.ts';
import { LiveRequest } from '../../edge/live-request.ts';
import { startNats, type NatsServer } from '../../infra/dev/nats.ts';
import type { MillraceError } from '../../shared/errors.ts';
import { DEFAULT_SAMPLING } from '../../shared/sampling.ts';
import type { Frame, Submit } from '../../shared/protocol.ts';
import { HandWorker } from '../support/hand-worker.ts';
import { until } from '../support/stack.ts';

let nats: NatsServer;
let bus: Bus;
let fleet: Fleet;
let worker: HandWorker;
let tests = 0;

beforeAll(async () => {
  nats = await startNats();
});
afterAll(async () => {
  await nats[Symbol.asyncDispose]();
});
beforeEach(async () => {
  worker = await HandWorker.connect(nats, `w${tests++}`);
  const { user, password } = nats.gateway;
  bus = await Bus.connect({ url: nats.wsUrl, user, password, name: 'test' });
  await startFleet();
});
afterEach(async () => {
  await worker[Symbol.asyncDispose]();
});

/** A patient one, by default: nats-server may stall. */
async function startFleet(submitTimeoutMs = 15_000): Promise<void> {
  fleet = await Fleet.start({ bus, shard: 's0', shardEpoch: `se${tests}`, submitTimeoutMs });
  await beat(worker.epoch);
}

async function beat(epoch: string): Promise<void> {
  worker.epoch = epoch;
  await worker.heartbeat();
  await until(() => fleet.workers().some((known) => known.worker === worker.worker && known.epoch === epoch));
}

async function submit(attempt = 1, offsets: readonly number[] = [0]): Promise<LiveRequest> {
  const job: Submit = {
    ...{ v: 1, id: 'r1', attempt, shard: 's0', shardEpoch: `se${tests}`, tenant: 't', model: 'm', priority: 0 },
    ...{ prompt: { type: 'text', text: 'hi' }, params: { ...DEFAULT_SAMPLING, n: offsets.length } },
    ...{ speculation: 'auto', cacheSalt: '', templateValues: {}, deadlineMs: Date.now() + 60_000 },
  };
  const open = (to: string, epoch: string) =>
    new LiveRequest({ id: 'r1', attempt, worker: to, epoch, offsets, whole: false });
  return (await fleet.submit(job, open)).live;
}

const delta = (offset: number, text: string, attempt = 1, choice = 0): Frame => ({
  ...{ type: 'text-delta', id: 'r1', attempt, choice, offset },
  ...{ ids: [...text].map(() => 1), pieces: [...text] },
});

const textOf = (live: LiveRequest): string =>
  live
    .take()
    .choices.map(({ text }) => text)
    .join('|');

/** The frames sent before have been handled once this one shows. */
async function textWith(live: LiveRequest, marker: Frame): Promise<string> {
  await worker.send([marker]);
  await until(() => live.offsets.some((offset) => offset > 0));
  return textOf(live);
}

describe('fencing', () => {
  it('frames of an older epoch of the same worker are dropped', async () => {
    const live = await submit();
    await worker.send([delta(0, 'old')], 'e0');
    expect(await textWith(live, delta(0, 'new'))).toBe('new');
  });

  it('frames of an older attempt are dropped', async () => {
    const live = await submit(2);
    await worker.send([delta(0, 'old', 1)]);
    expect(await textWith(live, delta(0, 'new', 2))).toBe('new');
  });

  it('a worker that restarted before the submit: its reply renews the epoch, and what was fenced off is replayed', async () => {
    worker.admitsAs = 'e2';
    const live = await submit();
    await until(() => worker.heard('replay') === 1);
    // The first heartbeat of the new epoch loses what ran on the old one, not this.
    await beat('e2');
    expect(await textWith(live, delta(0, 'ab'))).toBe('ab');
    expect(live.ended).toBe(false);
  });

  it('a worker that restarts loses what it ran', async () => {
    const live = await submit();
    await beat('e2');
    await until(() => live.ended);
    expect(live.take().error?.code).toBe('worker_lost');
    expect(live.accept(delta(0, 'late'), 0)).toBe(true);
    expect(textOf(live)).toBe('');
  });
});

it('a worker that lives but answers no submit in time is busy, not gone: 429, and it is told to drop the request', async () => {
  await startFleet(500);
  worker.mute = true;
  await expect(submit()).rejects.toMatchObject({ code: 'slow_down', retryAfterMs: 500 });
  await until(() => worker.heard('cancel') === 1);
});

it('a replay that is not answered in time says nothing; of a worker that is gone, that there is none', async () => {
  const live = await submit();
  await expect.poll(() => fleet.replay(live), { timeout: 10_000 }).toBe(true);
  worker.mute = true;
  expect(await fleet.replay(live)).toBeNull();
  await worker[Symbol.asyncDispose]();
  await expect.poll(() => fleet.replay(live), { timeout: 10_000 }).toBe(false);
});

it('a worker that left without a word is gone', async () => {
  await worker[Symbol.asyncDispose]();
  // The server may take a moment to see the connection closed.
  const codeOf = () => submit().then(null, (error: unknown) => (error as MillraceError).code);
  await expect.poll(codeOf, { timeout: 10_000 }).toBe('no_worker');
});

describe('several choices', () => {
  it('a hole in one of them asks for a replay from where each stands', async () => {
    const live = await submit(1, [0, 0, 0]);
    await worker.send([delta(0, 'abc', 1, 0), delta(0, 'x', 1, 1), delta(2, 'z', 1, 1)]);
    await until(() => worker.heard('replay') === 1);
    expect(worker.controls.find(({ type }) => type === 'replay')).toMatchObject({ id: 'r1', offsets: [3, 1, 0] });
    await worker.send([delta(1, 'yz', 1, 1)]);
    await until(() => live.offsets[1] === 3);
    expect(textOf(live)).toBe('abc|xyz|');
  });
});
