/** A gateway's workers on a real nats-server: what older incarnations and attempts send changes nothing; who is busy, gone or back. */
import { describe, expect, it } from 'vitest';
import type { LiveRequest } from '../../edge/live-request.ts';
import type { MillraceError } from '../../shared/errors.ts';
import type { Frame } from '../../shared/protocol.ts';
import { deltaOf, FleetWorld, stageWorlds, textOf } from '../support/fleet-world.ts';
import { HandWorker } from '../support/hand-worker.ts';
import { until } from '../support/stack.ts';

const stage = stageWorlds();

/** The frames sent before have been handled once this one shows. */
async function textWith(live: LiveRequest, marker: Frame): Promise<string> {
  await stage.world.worker.send([marker]);
  await until(() => live.offsets.some((offset) => offset > 0));
  return textOf(live);
}

/** Of another request's submit. */
const codeOf = (model = 'm') =>
  stage.world.submit({ id: 'r2', model }).then(
    () => null,
    (error: unknown) => (error as MillraceError).code,
  );

describe('fencing', () => {
  it('frames of an older epoch of the same worker are dropped', async () => {
    const live = await stage.world.submit();
    await stage.world.worker.send([deltaOf(0, 'old')], 'e0');
    expect(await textWith(live, deltaOf(0, 'new'))).toBe('new');
  });

  it('frames of an older attempt are dropped', async () => {
    const live = await stage.world.submit({ attempt: 2 });
    await stage.world.worker.send([deltaOf(0, 'old')]);
    expect(await textWith(live, deltaOf(0, 'new', { attempt: 2 }))).toBe('new');
  });

  it('a worker that restarted before the submit: its reply renews the epoch, and what was fenced off is replayed', async () => {
    const { worker } = stage.world;
    worker.admitsAs = 'e2';
    const live = await stage.world.submit();
    await until(() => worker.heard('replay') === 1);
    // The first heartbeat of the new epoch loses what ran on the old one, not this.
    await stage.world.beat('e2');
    expect(await textWith(live, deltaOf(0, 'ab'))).toBe('ab');
    expect(live.ended).toBe(false);
  });

  it('a worker that restarts loses what it ran', async () => {
    const live = await stage.world.submit();
    await stage.world.beat('e2');
    await until(() => live.ended);
    expect(live.take().error?.code).toBe('worker_lost');
    expect(live.accept(deltaOf(0, 'late'), 0)).toBe(true);
    expect(textOf(live)).toBe('');
  });

  it('also when a submit found nobody there in between', async () => {
    const live = await stage.world.submit();
    await stage.world.worker[Symbol.asyncDispose]();
    // The server may take a moment to see the connection closed.
    await expect.poll(() => codeOf(), { timeout: 10_000 }).toBe('no_worker');
    await stage.world.restart('e2');
    await until(() => live.ended);
    expect(live.take().error?.code).toBe('worker_lost');
  });

  it('what a restarted worker admitted before its first heartbeat is lost with it', async () => {
    const { worker } = stage.world;
    worker.admitsAs = 'e2';
    const live = await stage.world.submit();
    await stage.world.beat('e2');
    await worker[Symbol.asyncDispose]();
    await until(() => live.ended);
    expect(live.take().error?.code).toBe('worker_lost');
  });
});

describe('submit', () => {
  it('a worker that lives but answers none in time is busy, not gone: 429, and it is told to drop the request', async () => {
    await using hasty = await FleetWorld.start(stage.nats, 500);
    hasty.worker.mutes = () => true;
    // The other world's worker is of the same model.
    stage.world.worker.mutes = () => true;
    await expect(hasty.submit()).rejects.toMatchObject({ code: 'slow_down', retryAfterMs: 500 });
    await until(() => hasty.worker.heard('cancel') === 1);
  });

  it('a worker that left without a word is gone', async () => {
    await stage.world.worker[Symbol.asyncDispose]();
    await expect.poll(() => codeOf(), { timeout: 10_000 }).toBe('no_worker');
  });

  it('a model whose only worker has left is not available, one that nobody had does not exist', async () => {
    await using other = await HandWorker.connect(stage.nats, 'other', 'o');
    await until(async () => {
      await other.heartbeat();
      return stage.world.fleet.workers().some(({ worker }) => worker === 'other');
    });
    await stage.world.worker[Symbol.asyncDispose]();
    // Known to live by its heartbeat, however long a process stalls.
    const codeWith = async (model: string) => {
      await other.heartbeat();
      return codeOf(model);
    };
    await expect.poll(() => codeWith('x'), { timeout: 10_000 }).toBe('model_not_found');
    await expect.poll(() => codeWith('m'), { timeout: 10_000 }).toBe('no_worker');
  });

  it('what the server would not carry is too large, not too busy', async () => {
    await expect(stage.world.submit({}, 'x'.repeat(9 << 20))).rejects.toMatchObject({ code: 'request_too_large' });
    expect(stage.world.fleet.find('r1')).toBeUndefined();
    expect(stage.world.worker.heard('cancel')).toBe(0);
  });
});

describe('several choices', () => {
  it('a hole in one of them asks for a replay from where each stands', async () => {
    const { worker } = stage.world;
    const live = await stage.world.submit({ offsets: [0, 0, 0] });
    const hole = [deltaOf(0, 'abc'), deltaOf(0, 'x', { choice: 1 }), deltaOf(2, 'z', { choice: 1 })];
    await worker.send(hole);
    await until(() => worker.heard('replay') > 0);
    expect(worker.controls.find(({ type }) => type === 'replay')).toMatchObject({ id: 'r1', offsets: [3, 1, 0] });
    await worker.send([deltaOf(1, 'yz', { choice: 1 })]);
    await until(() => live.offsets[1] === 3);
    expect(textOf(live)).toBe('abc|xyz|');
  });
});
