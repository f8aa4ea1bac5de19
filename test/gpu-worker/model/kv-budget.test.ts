import { totalmem } from 'node:os';
import { expect, test } from 'vitest';
import { kvCapacityTokens } from '../../../gpu-worker/model/kv-budget.ts';
import { openFixture } from './plans.ts';

const budget = {
  slots: 4,
  maxModelLen: 100,
  bytesPerToken: 1000,
  memoryBytes: 1_000_000,
  weightBytes: 200_000,
  memoryUtilization: 0.5,
  kvCacheTokens: null,
};

test.each([
  ['memory is the bound', {}, 300],
  ['slots are the bound', { memoryUtilization: 1 }, 400],
  ["the operator's figure is the bound", { kvCacheTokens: 150 }, 150],
  ['more than the slots hold is no use', { kvCacheTokens: 1000 }, 400],
])('%s', (_, change, tokens) => {
  expect(kvCapacityTokens({ ...budget, ...change })).toBe(tokens);
});

test('a runner over int8 holds four times the tokens of one over float32', () => {
  const limits = {
    maxNumSeqs: 2048,
    memoryUtilization: 3e7 / Math.min(totalmem(), process.constrainedMemory() || Infinity),
  };
  const [float32 = NaN, int8 = NaN] = (['float32', 'int8'] as const).map((kvCacheDtype) => {
    const runner = openFixture('tiny-llama', { ...limits, kvCacheDtype });
    const { capacityTokens } = runner.info.kv;
    runner.dispose();
    return capacityTokens;
  });
  // Less what long chunks are expanded to.
  expect(int8 / float32).toBeCloseTo(4, 1);
});

test.each([
  ['no room for one sequence', { weightBytes: 450_000 }, 'room for 50 tokens, one sequence may need 100'],
  ['weights alone do not fit', { weightBytes: 2_000_000 }, 'room for 0 tokens'],
  [
    'an own figure below one sequence',
    { kvCacheTokens: 99 },
    '--kv-cache-tokens (kvCacheTokens) is 99: it must be an integer of at least 100',
  ],
  ['a share above the whole', { memoryUtilization: 1.1 }, 'memoryUtilization = 1.1'],
  ['a share that is no number', { memoryUtilization: NaN }, 'memoryUtilization = NaN'],
])('refused: %s', (_, change, message) => {
  expect(() => kvCapacityTokens({ ...budget, ...change })).toThrow(message);
});
