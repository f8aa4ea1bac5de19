import { expect, test } from 'vitest';
import { seeded } from '../../support/seeded.ts';
import { auc, permutationP, shuffled } from './auc.ts';

test('1 apart, 0 the wrong way round, 0.5 alike', () => {
  expect(auc([1, 2, 3], [4, 5])).toBe(1);
  expect(auc([4, 5], [1, 2, 3])).toBe(0);
  expect(auc([7, 7, 7], [7, 7])).toBe(0.5);
});

test('equals the share of pairs in order', () => {
  const random = seeded(5);
  const draw = (count: number) => Array.from({ length: count }, () => Math.floor(random() * 10));
  const [fast, slow] = [draw(30), draw(20)];
  const pairs = fast.flatMap((a) => slow.map((b): number => (b > a ? 1 : b === a ? 0.5 : 0)));
  expect(auc(fast, slow)).toBeCloseTo(pairs.reduce((sum, each) => sum + each, 0) / pairs.length, 12);
});

test('chance explains samples of one distribution, and hardly ever two that differ', () => {
  const random = seeded(6);
  const draw = (from: number): readonly number[] => Array.from({ length: 50 }, () => from + random());
  expect(permutationP(draw(0), draw(0), { rounds: 200, random })).toBeGreaterThan(0.02);
  expect(permutationP(draw(0), draw(1), { rounds: 200, random })).toBeLessThan(0.01);
});

test('shuffling keeps all items', () => {
  const items = Array.from({ length: 20 }, (_, i) => i);
  const mixed = shuffled(items, seeded(1));
  expect(mixed).not.toEqual(items);
  expect(mixed.toSorted((a, b) => a - b)).toEqual(items);
});
