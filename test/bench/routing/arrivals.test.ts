import { expect, test } from 'vitest';
import { makeTrace } from './arrivals.ts';

const OPTIONS = { seed: 3, seconds: 100, requestsPerSecond: 20, tenants: 60, skew: 0.6 };

test('equal options give equal traces, another seed another one', () => {
  expect(makeTrace(OPTIONS)).toEqual(makeTrace(OPTIONS));
  expect(makeTrace({ ...OPTIONS, seed: 4 })).not.toEqual(makeTrace(OPTIONS));
});

test('Poisson: the rate holds, and gaps scatter as much as their mean', () => {
  const trace = makeTrace(OPTIONS);
  expect(Math.abs(trace.length - 2000)).toBeLessThan(4 * Math.sqrt(2000));
  const gaps = trace.slice(1).map(({ atMs }, i) => atMs - (trace[i]?.atMs ?? 0));
  const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
  const deviation = Math.sqrt(gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length);
  expect(deviation / mean).toBeGreaterThan(0.9);
  expect(deviation / mean).toBeLessThan(1.1);
  expect(Math.min(...gaps)).toBeGreaterThanOrEqual(0);
});

test('tenants share the traffic by 1 / k ** skew', () => {
  const count = (skew: number, tenant: number) =>
    makeTrace({ ...OPTIONS, skew, seconds: 1000 }).filter((each) => each.tenant === tenant).length;
  // Of 20,000: about 1,700 and 150 with a skew of 0.6, 333 without.
  expect(count(0.6, 0)).toBeGreaterThan(1500);
  expect(count(0.6, 59)).toBeLessThan(200);
  expect(Math.abs(count(0, 0) - 333)).toBeLessThan(80);
});
