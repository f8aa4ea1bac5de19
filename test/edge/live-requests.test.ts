/** Live requests on a real nats-server: cancels, replays and resumes that get lost, and workers that know nothing of them. */
import { describe, expect, it } from 'vitest';
import type { LiveRequest } from '../../edge/live-request.ts';
import { LiveRequests } from '../../edge/live-requests.ts';
import { NO_USAGE, type Frame } from '../../shared/protocol.ts';
import { deltaOf, stageWorlds, textOf } from '../support/fleet-world.ts';
import { HandWorker } from '../support/hand-worker.ts';
import { until } from '../support/stack.ts';

const stage = stageWorlds();

const endOf = (completionTokens: number): readonly Frame[] => [
  { ...{ type: 'choice-end', id: 'r1', attempt: 1, choice: 0 }, tokens: completionTokens, finishReason: 'stop' },
  { ...{ type: 'stream-end', id: 'r1', attempt: 1 }, usage: { ...NO_USAGE, completionTokens }, timings: NO_TIMINGS },
];
const NO_TIMINGS = { queueMs: 0, prefillMs: 0, decodeMs: 0 };

/** All of `text` has arrived. */
async function sent(live: LiveRequest, text: string): Promise<void> {
  await stage.world.worker.send([deltaOf(0, text)]);
  await until(() => live.offsets[0] === text.length);
}

describe('cancel', () => {
  /** Tokens one by one until it is so. */
  async function sendUntil(check: () => boolean, worker = stage.world.worker): Promise<void> {
    for (let offset = 0; !check(); offset++) {
      await worker.send([deltaOf(offset, 'x')]);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  it('one whose answer does not come is sent again while tokens come', async () => {
    const { worker, fleet } = stage.world;
    const live = await stage.world.submit();
    worker.mutes = (type) => type === 'cancel';
    live.detached = true;
    expect(await fleet.cancel(live.worker, live.id)).toBe('silent');
    await sendUntil(() => worker.heard('cancel') > 1);
  });

  it('what nobody knows, or has been given up, is cancelled where it runs', async () => {
    const { worker, fleet } = stage.world;
    const live = await stage.world.submit();
    fleet.detach(live);
    await sendUntil(() => worker.heard('cancel') > 0);
    expect(worker.controls.find(({ type }) => type === 'cancel')).toMatchObject({ id: 'r1' });
  });

  it('so is a request that another worker has taken', async () => {
    const { worker } = stage.world;
    const live = await stage.world.submit();
    await using slow = await HandWorker.connect(stage.nats, 'slow');
    slow.submits.push(...worker.submits);
    await sendUntil(() => slow.heard('cancel') > 0, slow);
    await sent(live, 'ab');
    expect(textOf(live)).toBe('ab');
    expect(worker.heard('cancel')).toBe(0);
  });

  it('what goes on without its client is not', async () => {
    const { worker, fleet } = stage.world;
    const live = await stage.world.submit({ continues: true });
    live.detached = true;
    await sent(live, 'abc');
    await worker.send([deltaOf(3, 'def'), ...endOf(6)]);
    await until(() => fleet.find('r1') === undefined);
    expect(worker.heard('cancel')).toBe(0);
  });
});

describe('replay', () => {
  it('is asked for again when no answer came', async () => {
    const { worker } = stage.world;
    const live = await stage.world.submit();
    worker.mutes = (type) => type === 'replay' && worker.heard('replay') < 3;
    await worker.send([deltaOf(2, 'c')]);
    await until(() => worker.heard('replay') >= 3);
    await sent(live, 'abc');
    expect(textOf(live)).toBe('abc');
  });

  it('of a stream that the worker does not have ends in an error, not in silence', async () => {
    const { worker } = stage.world;
    const live = await stage.world.submit();
    worker.found = false;
    await worker.send([deltaOf(0, 'abc')]);
    worker.skip();
    await worker.send(endOf(5));
    await until(() => live.ended);
    expect(live.take()).toMatchObject({ choices: [{ text: 'abc' }], end: null, error: { code: 'worker_lost' } });
  });
});

describe('resume', () => {
  it('ends the reader before it, once the worker has the stream', async () => {
    const first = await stage.world.submit();
    const second = stage.world.request();
    expect(await stage.world.fleet.resume(second)).toBe('found');
    expect(first.take().error?.code).toBe('stream_not_found');
    await sent(second, 'abc');
    expect(textOf(second)).toBe('abc');
  });

  it('that is not answered leaves the reader before it its stream', async () => {
    const { worker, fleet } = stage.world;
    const first = await stage.world.submit();
    await sent(first, 'abc');
    worker.mutes = (type) => type === 'replay' && worker.heard('replay') < 2;
    const second = stage.world.request();
    const resumed = fleet.resume(second);
    // One at a time.
    expect(await fleet.resume(stage.world.request())).toBe('silent');
    await until(() => worker.heard('replay') === 1);
    // It arrives while the second one is the reader.
    await worker.send([deltaOf(3, 'de')]);
    expect(await resumed).toBe('silent');
    await until(() => worker.heard('replay') === 2);
    expect(worker.controls.findLast(({ type }) => type === 'replay')).toMatchObject({ offsets: [3] });
    await worker.send([deltaOf(3, 'de'), ...endOf(5)]);
    await until(() => first.ended);
    expect(first.take()).toMatchObject({ choices: [{ text: 'abcde' }], error: null });
  });

  it('that is not answered: a stream that goes on without its client goes on', async () => {
    const { worker, fleet } = stage.world;
    fleet.detach(await stage.world.submit({ continues: true }));
    worker.mutes = (type) => type === 'replay';
    const live = stage.world.request({ continues: true });
    expect(await fleet.resume(live)).toBe('silent');
    await sent(live, 'abc');
    await worker.send(endOf(3));
    await until(() => fleet.find('r1') === undefined);
    expect(worker.heard('cancel')).toBe(0);
  });

  it('that is not answered is asked for again: a worker that does not have the stream is not waited for', async () => {
    const { worker, fleet } = stage.world;
    worker.mutes = (type) => type === 'replay' && worker.heard('replay') < 2;
    worker.found = false;
    const live = stage.world.request();
    expect(await fleet.resume(live)).toBe('silent');
    await until(() => live.ended);
    expect(live.take().error?.code).toBe('worker_lost');
  });

  it('of a stream that is not there, or whose worker is gone, says so', async () => {
    const { worker, fleet } = stage.world;
    worker.found = false;
    expect(await fleet.resume(stage.world.request())).toBe('unknown');
    expect(fleet.find('r1')).toBeUndefined();
    await worker[Symbol.asyncDispose]();
    await expect.poll(() => fleet.resume(stage.world.request()), { timeout: 10_000 }).toBe('gone');
  });
});

describe('a client that reads nothing for a minute', () => {
  const begin = 1_000_000;
  /** Something waits for it since `begin`. */
  const unread = (continues: boolean) => {
    const cancelled: string[] = [];
    const requests = new LiveRequests({
      cancel: async (_, id) => (cancelled.push(id), 'found'),
      replay: async () => 'found',
    });
    const live = stage.world.request({ continues });
    requests.add(live);
    live.accept(deltaOf(0, 'abc'), begin);
    return { requests, live, cancelled };
  };

  it.each([false, true])('loses its stream; goes on without it: %s', (continues) => {
    const { requests, live, cancelled } = unread(continues);
    requests.tick(begin + 60_000);
    expect(live.ended).toBe(false);
    requests.tick(begin + 60_001);
    expect(live.take()).toMatchObject({ choices: [{ text: 'abc' }], error: { code: 'slow_client' } });
    expect(cancelled).toEqual(continues ? [] : ['r1']);
    const after = requests.find('r1');
    expect([after?.detached, after?.offsets]).toEqual(continues ? [true, [3]] : [undefined, undefined]);
    expect([...requests.tick(begin + 60_002)]).toEqual(continues ? [live.worker] : []);
  });
});
