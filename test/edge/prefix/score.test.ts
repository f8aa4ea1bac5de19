import { describe, expect, test } from 'vitest';
import { predictCost, rank, type Candidate } from '../../../edge/prefix/score.ts';
import { seeded } from '../../support/seeded.ts';

const idle: Candidate = {
  ...{ worker: 'idle', matchedTokens: 0, queuedTokens: 0, tokensPerSecond: 10_000 },
  ...{ sequences: 0, maxSequences: 16, recent: 0 },
};
const like = (worker: string, extra: Partial<Candidate>): Candidate => ({ ...idle, worker, ...extra });
/** How often each comes first in 200 draws. */
function firsts(promptTokens: number, candidates: readonly Candidate[]): Record<string, number> {
  const random = seeded(7);
  const counts: Record<string, number> = {};
  for (let i = 0; i < 200; i++) {
    const order = rank(promptTokens, candidates, random);
    expect(order.toSorted()).toEqual(candidates.map(({ worker }) => worker).toSorted());
    counts[order[0] ?? ''] = (counts[order[0] ?? ''] ?? 0) + 1;
  }
  return counts;
}

describe('who comes first', () => {
  test('the holder of a long prefix, always', () => {
    expect(firsts(1600, [idle, like('holder', { matchedTokens: 1500 }), like('other', {})])).toEqual({ holder: 200 });
  });

  test('the holder even behind a queue, while computing the prefix elsewhere would take longer', () => {
    const holder = like('holder', { matchedTokens: 1500, queuedTokens: 1500 });
    expect(firsts(1600, [idle, holder])).toEqual({ holder: 200 });
    expect(firsts(1600, [idle, { ...holder, queuedTokens: 4000 }])).toEqual({ idle: 200 });
  });

  test('the holder behind a queue half as long again, where all have long ones', () => {
    const others = ['a', 'b', 'c'].map((worker) => like(worker, { queuedTokens: 20_000 }));
    const holder = like('holder', { matchedTokens: 1500, queuedTokens: 29_000 });
    expect(firsts(1600, [...others, holder])).toEqual({ holder: 200 });
    expect(firsts(1600, [...others, { ...holder, queuedTokens: 45_000 }])['holder']).toBeUndefined();
  });

  test('any of those that are as good, the better of two of them more often', () => {
    const alike = ['a', 'b', 'c', 'd'].map((worker) => like(worker, {}));
    const counts = firsts(1000, alike);
    for (const { worker } of alike) expect(counts[worker]).toBeGreaterThan(5);
  });

  test('a short prefix decides nothing', () => {
    const counts = firsts(1600, [idle, like('holder', { matchedTokens: 32 })]);
    expect(counts['idle']).toBeGreaterThan(20);
    expect(counts['holder']).toBeGreaterThan(20);
  });

  test('a faster worker before a slower one, an unknown pace being that of the others', () => {
    expect(firsts(5000, [like('slow', { tokensPerSecond: 2000 }), like('fast', {})])).toEqual({ fast: 200 });
    expect(firsts(5000, [like('slow', { tokensPerSecond: 2000 }), like('new', { tokensPerSecond: null })])).toEqual({
      slow: expect.any(Number),
      new: expect.any(Number),
    });
  });

  test('nobody before a worker with a free place when another’s are all taken', () => {
    const full = like('full', { matchedTokens: 1500, sequences: 40 });
    expect(firsts(1600, [full, like('free', { sequences: 12 })])).toEqual({ free: 200 });
  });

  test('of none, nobody', () => {
    expect(rank(100, [], Math.random)).toEqual([]);
  });
});

describe('a hot prefix spreads', () => {
  const others = ['a', 'b', 'c'].map((worker) => like(worker, { sequences: 8, maxSequences: 64 }));
  const holder = (sequences: number) => like('holder', { matchedTokens: 1500, sequences, maxSequences: 64 });

  test('its holder keeps it up to 1.3 times the mean load; above 1.5 it is one of many, and the busiest', () => {
    expect(firsts(1600, [holder(12), ...others])).toEqual({ holder: 200 });
    expect(firsts(1600, [holder(26), ...others])['holder']).toBeLessThan(25);
  });

  test('in between it counts for less and less', () => {
    const at = (sequences: number) =>
      predictCost(holder(sequences), { promptTokens: 1600, pace: 1, load: 0.2, queue: 0, recent: 0, sequences: 0 });
    const times = [18, 21, 22, 22.5, 23, 24].map(at);
    expect(times).toEqual(times.toSorted((a, b) => a - b));
    expect(times.at(-1)).toBeGreaterThan(5 * (times[0] ?? 0));
  });

  test('and if it was the first choice too often lately, however idle all are', () => {
    const others = ['a', 'b', 'c'].map((worker) => like(worker, { recent: 8 }));
    const holder = (recent: number) => like('holder', { matchedTokens: 1500, recent });
    expect(firsts(1600, [holder(11), ...others])).toEqual({ holder: 200 });
    expect(firsts(1600, [holder(30), ...others])['holder']).toBeLessThan(100);
    const copy = like('copy', { matchedTokens: 1500, recent: 8 });
    expect(firsts(1600, [holder(30), copy, ...others])).toEqual({ copy: 200 });
  });

  test('an idle fleet does not lose its prefixes over a sequence or two', () => {
    const idles = ['a', 'b', 'c'].map((worker) => like(worker, {}));
    expect(firsts(1600, [like('holder', { matchedTokens: 1500, sequences: 2 }), ...idles])).toEqual({ holder: 200 });
  });
});

test('figures that make no sense give an order all the same', () => {
  const odd = [
    like('a', { maxSequences: 0, sequences: 5 }),
    like('b', { tokensPerSecond: 0, queuedTokens: 1e12 }),
    like('c', { matchedTokens: 1e12 }),
  ];
  expect(rank(100, odd, Math.random).toSorted()).toEqual(['a', 'b', 'c']);
});
