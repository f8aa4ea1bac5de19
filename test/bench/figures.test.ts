import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { figuresOf, spreadsOf } from './figures.ts';
import { TraceRecorder } from './trace.ts';

test('figures of two streams: rate over the whole round, gaps pooled, tokens that came together counted once', () => {
  const figures = figuresOf([
    { sentMs: 1000, arrivalsMs: [1100, 1110, 1130], endMs: 1130, tokens: 3 },
    { sentMs: 1050, arrivalsMs: [1250, 1500], endMs: 1500, tokens: 7 },
  ]);
  expect(figures).toEqual({
    tokensPerSecond: 20,
    ttftP50Ms: 150,
    ttftP99Ms: 200,
    itlP50Ms: 20,
    itlP99Ms: 250,
    tokensPerArrival: 2,
  });
});

test('a stream that shows no text counts by its end, and makes no gaps', () => {
  const figures = figuresOf([{ sentMs: 0, arrivalsMs: [], endMs: 40, tokens: 4 }]);
  expect(figures).toMatchObject({ tokensPerSecond: 100, ttftP50Ms: 40, itlP50Ms: NaN });
});

test('the spread is over rounds, figure by figure', () => {
  const round = (endMs: number) => figuresOf([{ sentMs: 0, arrivalsMs: [10, endMs], endMs, tokens: 2 }]);
  const spreads = spreadsOf([round(20), round(50), round(40)]);
  expect(spreads.tokensPerSecond).toEqual({ median: 50, min: 40, max: 100 });
  expect(spreads.itlP50Ms).toEqual({ median: 30, min: 10, max: 40 });
});

test('what arrives within one turn of the event loop is one arrival', async () => {
  const recorder = new TraceRecorder();
  recorder.arrive();
  await Promise.resolve();
  recorder.arrive();
  await nextTurn();
  recorder.arrive();
  const { sentMs, arrivalsMs, endMs, tokens } = recorder.end(3);
  expect(arrivalsMs).toHaveLength(2);
  expect([sentMs, ...arrivalsMs, endMs]).toEqual([sentMs, ...arrivalsMs, endMs].toSorted((a, b) => a - b));
  expect(tokens).toBe(3);
});
