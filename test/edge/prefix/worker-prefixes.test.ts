import { describe, expect, test } from 'vitest';
import { WorkerPrefixes } from '../../../edge/prefix/worker-prefixes.ts';
import { blocksOf, type PromptBlock } from '../../../shared/block-hash.ts';
import type { KvEvents } from '../../../shared/protocol.ts';
import { cpuMs } from '../../support/cpu-time.ts';

const hashAt = (i: number) => i.toString(16).padStart(16, '0');
const blocks = (count: number, from = 0): PromptBlock[] =>
  Array.from({ length: count }, (_, i) => ({ hash: hashAt(from + i), message: 0, end: i + 1, size: (i + 1) * 1024 }));

interface Change {
  readonly stored?: readonly number[];
  readonly evicted?: readonly number[];
  readonly worker?: string;
  readonly epoch?: string;
}

/** Block i ends at token 100 (i + 1). */
function message(event: number, { stored = [], evicted = [], worker = 'w', epoch = 'e' }: Change): KvEvents {
  return {
    ...{ v: 1, worker, epoch, shard: 's', event, evicted: evicted.map(hashAt) },
    stored: stored.map((i) => [hashAt(i), 100 * (i + 1)]),
  };
}

function known(...workers: string[]): WorkerPrefixes {
  const prefixes = new WorkerPrefixes();
  for (const worker of workers) {
    expect(prefixes.begin(worker, 'e')).toBe(true);
    prefixes.restore(message(0, { worker }));
  }
  return prefixes;
}

const tokensOf = (prefixes: WorkerPrefixes, count = 8, nowMs = 0) =>
  Object.fromEntries(Array.from(prefixes.lookup(blocks(count), nowMs), ([worker, { tokens }]) => [worker, tokens]));

describe('events', () => {
  test('in order: the deepest block that a worker holds counts', () => {
    const prefixes = known('w', 'x');
    expect(prefixes.receive(message(1, { stored: [0, 1, 2] }))).toBe(false);
    prefixes.receive(message(1, { stored: [0], worker: 'x' }));
    expect(tokensOf(prefixes)).toEqual({ w: 300, x: 100 });
    prefixes.receive(message(2, { evicted: [2] }));
    expect(tokensOf(prefixes)).toEqual({ w: 200, x: 100 });
    expect(tokensOf(prefixes, 1)).toEqual({ w: 100, x: 100 });
    prefixes.forget('w');
    expect(tokensOf(prefixes)).toEqual({ x: 100 });
  });

  test('a gap asks for a snapshot; what came meanwhile is applied after it', () => {
    const prefixes = known('w');
    prefixes.receive(message(1, { stored: [0] }));
    expect(prefixes.receive(message(3, { stored: [2] }))).toBe(true);
    expect(prefixes.receive(message(4, { stored: [3] }))).toBe(true);
    expect(prefixes.begin('w', 'e')).toBe(true);
    expect(prefixes.restore(message(3, { stored: [1, 2] }))).toBe(false);
    expect(tokensOf(prefixes)).toEqual({ w: 400 });
    expect(tokensOf(prefixes, 1)).toEqual({});
    expect(prefixes.receive(message(5, { evicted: [3] }))).toBe(false);
    expect(tokensOf(prefixes)).toEqual({ w: 300 });
  });

  test('a snapshot older than a lost event asks again', () => {
    const prefixes = known('w');
    expect(prefixes.receive(message(7, { stored: [0] }))).toBe(true);
    expect(prefixes.restore(message(5, {}))).toBe(true);
    expect(prefixes.begin('w', 'e')).toBe(true);
  });

  test('a new incarnation begins with nothing, and what the old one says is ignored', () => {
    const prefixes = known('w');
    prefixes.receive(message(1, { stored: [0, 1] }));
    expect(prefixes.begin('w', 'e')).toBe(false);
    expect(prefixes.begin('w', 'e2')).toBe(true);
    expect(prefixes.receive(message(2, { stored: [0] }))).toBe(false);
    expect(prefixes.restore(message(2, { stored: [0] }))).toBe(false);
    expect(tokensOf(prefixes)).toEqual({});
    prefixes.restore(message(0, { epoch: 'e2', stored: [0] }));
    expect(tokensOf(prefixes)).toEqual({ w: 100 });
  });

  test('strangers and floods change nothing and fill nothing', () => {
    const prefixes = known('w');
    expect(prefixes.receive(message(1, { stored: [0], worker: 'nobody' }))).toBe(false);
    prefixes.receive(message(1, { stored: [0] }));
    for (let event = 2; event < 40; event++) {
      const stored = Array.from({ length: 2000 }, (_, i) => 1_000_000 * event + i);
      prefixes.receive(message(event, { stored }));
    }
    // The oldest made room; the newest are there.
    expect(tokensOf(prefixes)).toEqual({});
    expect(prefixes.lookup(blocks(1, 39_000_000 + 1999), 0).size).toBe(1);
    for (let i = 0; i < 2000; i++) prefixes.begin(`w${i}`, 'e');
    expect(prefixes.begin('w', 'e')).toBe(true);
  });
});

describe('what was sent is expected', () => {
  test('for half a minute, or until the worker says that it is stored', () => {
    const prefixes = known('w');
    prefixes.expect('w', blocks(2), 0);
    expect(tokensOf(prefixes, 8, 29_999)).toEqual({ w: null });
    expect(tokensOf(prefixes, 8, 30_001)).toEqual({});
    prefixes.expect('w', blocks(2), 31_000);
    prefixes.receive(message(1, { stored: [0] }));
    expect(tokensOf(prefixes, 8, 70_000)).toEqual({ w: 100 });
  });

  test('not what the worker refused; what it holds stays', () => {
    const prefixes = known('w');
    prefixes.receive(message(1, { stored: [0] }));
    prefixes.expect('w', blocks(3), 0);
    expect(prefixes.lookup(blocks(3), 0).get('w')).toEqual({ size: 3072, tokens: null });
    prefixes.unexpect('w', blocks(3));
    expect(prefixes.lookup(blocks(3), 0).get('w')).toEqual({ size: 1024, tokens: 100 });
  });
});

test('equals a plain search over random events', () => {
  let state = 1;
  const random = (below: number) => (state = (state * 48_271) % 2_147_483_647) % below;
  const prefixes = known('a', 'b', 'c');
  const plain = new Map(['a', 'b', 'c'].map((worker) => [worker, new Set<number>()]));
  const events = new Map<string, number>();
  for (let round = 0; round < 3000; round++) {
    const worker = 'abc'[random(3)] ?? 'a';
    const [stored, evicted] = [[random(20), random(20)], [random(20)]];
    const event = (events.get(worker) ?? 0) + 1;
    events.set(worker, event);
    prefixes.receive(message(event, { worker, stored, evicted }));
    const held = plain.get(worker) ?? new Set();
    for (const each of evicted) held.delete(each);
    for (const each of stored) held.add(each);
    const expected = Object.fromEntries(
      Array.from(plain, ([each, set]) => [each, 100 * (Math.max(-1, ...set) + 1)]).filter(([, tokens]) => tokens !== 0),
    );
    expect(tokensOf(prefixes, 20)).toEqual(expected);
  }
});

test('a look-up of 256 blocks on 16 workers is no cost', () => {
  const workers = Array.from({ length: 16 }, (_, i) => `w${i}`);
  const prefixes = known(...workers);
  const prompt = blocksOf({ type: 'text', text: 'x'.repeat(1_300_000) }, 's');
  expect(prompt).toHaveLength(256);
  for (const [i, worker] of workers.entries()) {
    const stored = prompt.slice(0, 16 * i).map(({ hash, size }): [string, number] => [hash, size / 4]);
    prefixes.receive({ ...message(1, { worker }), stored });
  }
  let best = Infinity;
  for (let round = 0; round < 200; round++) {
    let found = 0;
    best = Math.min(
      best,
      cpuMs(() => (found = prefixes.lookup(prompt, 0).size)),
    );
    expect(found).toBe(15);
  }
  // 0.2 ms on a fast processor.
  expect(best).toBeLessThan(4);
  expect(prefixes.lookup(prompt, 0).get('w9')?.size).toBe(prompt[143]?.size);
});
