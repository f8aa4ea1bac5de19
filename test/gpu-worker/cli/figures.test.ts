import { expect, test } from 'vitest';
import { LineOrder } from '../../../gpu-worker/cli/line-order.ts';
import { loadingLine, progressLine } from '../../../gpu-worker/cli/progress.ts';
import { Median, Tally } from '../../../gpu-worker/cli/tally.ts';

test('lines come out in the order of their places, a bounded number waits', async () => {
  const written: string[] = [];
  const order = new LineOrder(async (line) => void written.push(line), 3);
  await order.put(2, 'c');
  await order.put(1, 'b');
  expect(written).toEqual([]);
  let roomy = false;
  const room = order.room(3).then(() => (roomy = true));
  await order.room(2);
  expect(roomy).toBe(false);
  await order.put(0, 'a');
  await room;
  expect(written).toEqual(['abc']);
  await order.put(5, 'f');
  await order.put(4, 'e');
  await order.rest();
  expect(written).toEqual(['abc', 'ef']);
});

test.each([
  [{ stage: 'download', done: 5e6, total: 20e6 }, 'Downloading m  1.2 s  25 %  5 of 20 MB'],
  [{ stage: 'weights', done: 0, total: 0 }, 'Loading m  1.2 s'],
  [{ stage: 'weights', done: 2e6, total: 3e6 }, 'Loading m  1.2 s  66 %  2 of 3 MB'],
  [{ stage: 'weights', done: 3e6, total: 3e6 }, 'Loading m  1.2 s'],
  [{ stage: 'pruning', done: 1, total: 4 }, 'Loading m  1.2 s  25 %  1 of 4 prunings measured'],
  [
    { stage: 'calibration', done: 256, total: 1024 },
    'Loading m  1.2 s  25 %  256 of 1024 tokens run to scale the KV cache',
  ],
  [{ stage: 'ready', done: 0, total: 0 }, 'Loading m  1.2 s'],
] as const)('while a model loads: %j', (progress, line) => {
  expect(loadingLine('m', { ...progress, elapsedMs: 1234 })).toBe(line);
});

test('a median to 1 %, of none it is null', () => {
  const median = new Median();
  expect(median.value).toBeNull();
  for (let i = 1; i <= 999; i++) median.add(i);
  expect(Math.abs((median.value ?? 0) - 500)).toBeLessThan(5);
  for (let i = 0; i < 2000; i++) median.add(0);
  expect(median.value).toBe(0.01);
});

test('a summary counts tokens of all, time of each', () => {
  const tally = new Tally();
  const usage = {
    promptTokens: 100,
    cachedTokens: 64,
    completionTokens: 22,
    reasoningTokens: 0,
    draftedTokens: 8,
    acceptedTokens: 6,
  };
  const choice = { index: 0, text: '', tokenIds: [], reasoning: null, logprobs: null, finishReason: 'stop' } as const;
  const timings = { queueMs: 10, prefillMs: 20, decodeMs: 100 };
  for (let index = 0; index < 50; index++) {
    tally.add({ type: 'done', index, outputs: [choice, { ...choice, index: 1 }], usage, timings });
  }
  const summary = tally
    .summary(2000)
    .split('\n')
    .map((row) => row.trim().replace(/ {2,}/, ' '));
  expect(summary).toEqual([
    'requests 50 in 2.0 s (25/s)',
    'output tokens 1,100 (550/s)',
    'prompt tokens 5,000 (2,500/s)',
    'prefix hits 3,200 prompt tokens (64 %)',
    'drafts accepted 300 of 400 (75 %)',
    'TTFT median 30 ms',
    // 100 ms for the 10 gaps of each choice.
    expect.stringMatching(/^ITL median (9\.9|10)/),
  ]);
});

test('progress: share, rates, time left', () => {
  const progress = { done: 250, total: 1000, outputTokens: 4000, promptTokens: 500, elapsedMs: 20_000 };
  expect(progressLine(progress, true)).toBe(
    '[█████░░░░░░░░░░░░░░░]  250/1000  200 output tokens/s  25 prompt tokens/s  ETA 1:00',
  );
  expect(progressLine({ ...progress, done: 1 }, false)).toMatch(/^1\/1000 .* ETA 5:33:00$/);
  expect(progressLine({ ...progress, done: 0 }, false)).toMatch(/ETA –$/);
});
