/** The routing score on a simulated fleet under cache pressure: 60 system prompts of 1,500 tokens, room for 24 on each worker. */
import { describe, expect, test } from 'vitest';
import type { Routing } from '../../../edge/prefix/router.ts';
import { simulate } from './simulator.ts';

/** About 60 % of what a fleet can take that goes by load alone. */
const RATE_PER_WORKER = 11;

describe.each([4, 16])('%i workers', (workers) => {
  describe.each([
    ['tenants alike', 0],
    ['a few tenants make most of the traffic', 0.9],
  ])('%s', (_, skew) => {
    const run = (policy: Routing, rate = RATE_PER_WORKER) =>
      simulate({
        ...{ policy, workers, gateways: 4, skew, seed: 42 },
        ...{ requests: 2000 * workers, requestsPerSecond: rate * workers },
      });

    test('the first token comes in less than half the time, by prefixes found', () => {
      const [random, leastLoaded, prefix] = (['random', 'least-loaded', 'prefix'] as const).map((each) => run(each));
      expect(prefix?.meanTtftMs).toBeLessThan((leastLoaded?.meanTtftMs ?? 0) / 2);
      expect(prefix?.meanTtftMs).toBeLessThan((random?.meanTtftMs ?? 0) / 2);
      expect(prefix?.p99TtftMs).toBeLessThan((leastLoaded?.p99TtftMs ?? 0) / 2);
      // The user's own text is 9 % of a prompt and never cached.
      expect(prefix?.hitRate).toBeGreaterThan(0.88);
      expect(leastLoaded?.hitRate).toBeLessThan(0.7);
      expect(prefix?.requestImbalance).toBeLessThan(1.5);
      expect(prefix?.workImbalance).toBeLessThan(1.5);
    });

    test('nobody carries more than 1.5 times the mean at a rate that drowns a fleet without prefixes', () => {
      const busy = run('prefix', 2 * RATE_PER_WORKER);
      expect(busy.requestImbalance).toBeLessThan(1.5);
      expect(busy.workImbalance).toBeLessThan(1.5);
      expect(busy.meanTtftMs).toBeLessThan(50);
    });
  });
});

test('the same seed gives the same run', () => {
  const options = { policy: 'prefix', workers: 4, gateways: 2, skew: 1, requests: 500, requestsPerSecond: 40 } as const;
  expect(simulate({ ...options, seed: 1 })).toEqual(simulate({ ...options, seed: 1 }));
  expect(simulate({ ...options, seed: 1 })).not.toEqual(simulate({ ...options, seed: 2 }));
});
