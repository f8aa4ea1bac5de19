import { expect, test } from 'vitest';
import type { RequestEnd } from '../../../gpu-worker/engine/messages.ts';
import { Streams } from '../../../gpu-worker/stream/streams.ts';
import { encodeMessage, NO_USAGE, type FrameBatch } from '../../../shared/protocol.ts';

const LEASE_MS = 1000;
const RETAIN_MS = 5000;

/** One request `r` and gateways `s0/<epoch>`, on a clock that only `at` moves. */
class World {
  readonly batches: FrameBatch[] = [];
  readonly streams: Streams;
  nowMs = 0;
  #offset = 0;

  constructor(maxBytes = 1_000_000_000) {
    const publish = (batch: FrameBatch) => void this.batches.push(batch);
    const options = { worker: 'w', epoch: 'e', leaseMs: LEASE_MS, retainMs: RETAIN_MS, maxBytes, publish };
    this.streams = new Streams(options);
  }

  target(shardEpoch = 'g1') {
    return { shard: 's0', shardEpoch, nowMs: this.nowMs };
  }

  open(id = 'r', attempt = 1): void {
    this.#offset = 0;
    this.streams.open({ id, attempt, promptTokens: 3, choices: 1, firstOffset: 0 }, this.target());
  }

  /** A step that gives `r` one token for each piece. */
  step(pieces: readonly string[], engineId = 'r.1'): void {
    const ids = pieces.map((_, i) => this.#offset + i);
    const delta = {
      id: engineId,
      choice: 0,
      offset: this.#offset,
      ids,
      pieces,
      reasoning: null,
      logprobs: null,
      finish: null,
    };
    this.#offset += ids.length;
    this.streams.receive([delta], [], this.nowMs);
  }

  end(engineId = 'r.1'): void {
    const usage = { ...NO_USAGE, promptTokens: 3, completionTokens: this.#offset };
    const end: RequestEnd = { type: 'done', id: engineId, usage, timings: { queueMs: 0, prefillMs: 0, decodeMs: 0 } };
    this.streams.receive([], [end], this.nowMs);
  }

  ids(shardEpoch = 'g1'): number[] {
    return this.batches
      .filter((batch) => batch.shardEpoch === shardEpoch)
      .flatMap(({ frames }) => frames)
      .flatMap((frame) => (frame.type === 'text-delta' ? frame.ids : []));
  }
}

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

test('without acks a link stalls at its bound; what comes then merges into one batch after an ack', () => {
  const world = new World();
  world.open();
  for (let i = 0; i < 3000; i++) world.step(['x']);
  const stalledAt = world.batches.length;
  expect(stalledAt).toBeLessThan(2000);
  world.streams.ack(world.target(), stalledAt);
  expect(world.batches.map(({ seq }) => seq)).toEqual(range(1, stalledAt + 2));
  expect(world.ids()).toEqual(range(0, 3000));
});

test('an ack of what was never sent opens no credit beyond what was', () => {
  const world = new World();
  world.open();
  world.step(['x']);
  world.streams.ack(world.target(), 1_000_000);
  for (let i = 0; i < 3000; i++) world.step(['x']);
  expect(world.batches.length).toBeLessThan(2000);
});

test('a large backlog goes out in batches below the server’s payload limit, worst escapes too', () => {
  const world = new World();
  world.open();
  world.streams.pause();
  for (let i = 0; i < 100; i++) world.step(range(0, 100).map(() => '\u0000'.repeat(50)));
  expect(world.batches).toEqual([]);
  world.streams.resume(0);
  expect(world.batches.length).toBeGreaterThan(2);
  for (const batch of world.batches) expect(encodeMessage(batch).length).toBeLessThan(1024 * 1024);
  expect(world.ids()).toEqual(range(0, 10_000));
});

test('a silent gateway’s live requests are orphans once the lease is over; an ack renews it', () => {
  const world = new World();
  world.open();
  world.nowMs = LEASE_MS - 1;
  expect(world.streams.sweep(world.nowMs)).toEqual([]);
  world.streams.ack(world.target(), 0);
  world.nowMs = 2 * LEASE_MS - 2;
  expect(world.streams.sweep(world.nowMs)).toEqual([]);
  world.nowMs = 2 * LEASE_MS;
  expect(world.streams.sweep(world.nowMs).map(({ engineId }) => engineId)).toEqual(['r.1']);
});

test('a replay moves a stream: the rest goes to the new epoch alone, numbered from 1', () => {
  const world = new World();
  world.open();
  world.step(['a', 'b', 'c']);
  expect(world.streams.replay('r', [1], world.target('g2'))).toBe(true);
  world.step(['d']);
  world.end();
  expect(world.ids('g1')).toEqual([0, 1, 2]);
  expect(world.ids('g2')).toEqual([1, 2, 3]);
  const second = world.batches.filter(({ shardEpoch }) => shardEpoch === 'g2');
  expect(second.map(({ seq }) => seq)).toEqual(range(1, second.length + 1));
  expect(second.flatMap(({ frames }) => frames).filter(({ type }) => type === 'stream-end')).toHaveLength(1);
});

test('an ended stream can be replayed until its time is over', () => {
  const world = new World();
  world.open();
  world.step(['a']);
  world.end();
  world.nowMs = RETAIN_MS - 1;
  world.streams.sweep(world.nowMs);
  expect(world.streams.replay('r', [0], world.target('g2'))).toBe(true);
  expect(world.ids('g2')).toEqual([0]);
  world.nowMs = RETAIN_MS;
  world.streams.sweep(world.nowMs);
  expect(world.streams.replay('r', [0], world.target('g3'))).toBe(false);
});

test('memory is bounded: the oldest ended stream goes first, a live one never', () => {
  const world = new World(10_000);
  world.open('live');
  for (const id of ['old', 'new']) {
    world.open(id);
    world.step(['x'.repeat(3000)], `${id}.1`);
    world.end(`${id}.1`);
  }
  world.streams.sweep(0);
  expect(['live', 'old', 'new'].filter((id) => world.streams.find(id) !== undefined)).toEqual(['live', 'new']);
});

test('output of an attempt that was replaced is dropped', () => {
  const world = new World();
  world.open('r', 1);
  world.step(['a'], 'r.1');
  world.open('r', 2);
  world.end('r.1');
  expect(world.streams.find('r')?.ended).toBe(false);
  expect(world.streams.live.size).toBe(1);
});
