import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { interleave, median, percentile, spreadOf } from './rounds.ts';

test('variants take turns, in the same order in every round', () => {
  const order = interleave(['a', 'b'], 3).map(({ round, variant }) => `${variant}${round}`);
  expect(order).toEqual(['a0', 'b0', 'a1', 'b1', 'a2', 'b2']);
});

test.each([
  [[3, 1, 2], 2],
  [[4, 1, 3, 2], 2.5],
  [[7], 7],
  [[10, 9, 100], 10],
])('the median of %j is %d', (values, expected) => {
  expect(median(values)).toBe(expected);
});

test('percentiles are nearest ranks', () => {
  const hundred = Array.from({ length: 100 }, (_, i) => 100 - i);
  expect([0, 0.01, 0.5, 0.99, 0.991, 1].map((fraction) => percentile(hundred, fraction))).toEqual([
    1, 1, 50, 99, 100, 100,
  ]);
  expect(percentile([5, 3], 0.99)).toBe(5);
});

test('a percentile is one of the values, and enough values are not above it', () => {
  const values = fc.array(fc.double({ noNaN: true }), { minLength: 1 });
  fc.assert(
    fc.property(values, fc.double({ min: 0, max: 1, noNaN: true }), (list, fraction) => {
      const value = percentile(list, fraction);
      expect(list).toContain(value);
      expect(list.filter((each) => each <= value).length / list.length).toBeGreaterThanOrEqual(fraction);
    }),
  );
});

test('nothing measured has no median and no spread', () => {
  expect(spreadOf([2, 8, 4])).toEqual({ median: 4, min: 2, max: 8 });
  expect(spreadOf([])).toEqual({ median: NaN, min: NaN, max: NaN });
});
