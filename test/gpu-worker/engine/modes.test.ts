import { describe, expect, test } from 'vitest';
import {
  admitsTtft,
  MODES,
  predictedTtftMs,
  PREFILL_FLOOR,
  stepTokenBudget,
  type BudgetInput,
  type Mode,
} from '../../../gpu-worker/engine/modes.ts';

/** 20 ms of decodes, then 1 ms for each prompt token. */
const linear = (prefillTokens: number) => 20 + prefillTokens;
const input = (over: Partial<BudgetInput> = {}): BudgetInput => ({
  mode: 'balanced',
  maxStepTokens: 512,
  itlMs: null,
  decodeTokens: 8,
  predictMs: linear,
  ...over,
});

describe('stepTokenBudget', () => {
  test.each<[string, Partial<BudgetInput>, number]>([
    ['throughput takes the maximum', { mode: 'throughput' }, 512],
    ['throughput has no objective', { mode: 'throughput', itlMs: 30 }, 512],
    ['nobody decodes: the maximum', { decodeTokens: 0 }, 512],
    ['an objective of 100 ms leaves 80 to prompts', { itlMs: 100 }, 88],
    ['the same in latency mode', { mode: 'latency', itlMs: 100 }, 88],
    ['an objective that any step keeps', { itlMs: 10_000 }, 512],
    ['an objective that no step keeps: the floor', { itlMs: 5 }, 8 + PREFILL_FLOOR],
    ['no objective, balanced: twice the decode-only step', { predictMs: (n) => 100 + n }, 108],
    ['no objective, latency: one and a half times', { mode: 'latency', predictMs: (n) => 100 + n }, 58],
    ['a cheap decode step still leaves the floor', { predictMs: (n) => 1 + n }, 8 + PREFILL_FLOOR],
    ['no prediction yet: the floor', { predictMs: () => null }, 8 + PREFILL_FLOOR],
    ['the maximum bounds even the floor', { maxStepTokens: 12, itlMs: 5 }, 12],
    ['decodes alone fill the step', { maxStepTokens: 64, decodeTokens: 64 }, 64],
  ])('%s', (_, over, tokens) => {
    expect(stepTokenBudget(input(over))).toBe(tokens);
  });

  test('is the largest that keeps the objective, also where the cost has steps', () => {
    const predictMs = (n: number) => 20 + 10 * Math.ceil(n / 16);
    for (let itlMs = 45; itlMs < 400; itlMs += 7) {
      const prefill = stepTokenBudget(input({ itlMs, predictMs })) - 8;
      expect(predictMs(prefill)).toBeLessThanOrEqual(itlMs);
      if (prefill < 504) expect(predictMs(prefill + 1)).toBeGreaterThan(itlMs);
    }
  });

  test('asks for few predictions', () => {
    let calls = 0;
    const predictMs = (n: number) => (calls++, 20 + n * 0.01);
    stepTokenBudget(input({ maxStepTokens: 8192, itlMs: 30, predictMs }));
    expect(calls).toBeLessThan(20);
  });
});

test('every mode runs a share of the sequences that fit, and has no absolute objective of its own', () => {
  for (const mode of ['latency', 'throughput', 'balanced'] satisfies Mode[]) {
    const { maxSequencesFactor, objectives } = MODES[mode];
    expect(maxSequencesFactor).toBeGreaterThan(0);
    expect(maxSequencesFactor).toBeLessThanOrEqual(1);
    expect(objectives).toEqual({ ttftMs: null, itlMs: null });
  }
});

describe('TTFT', () => {
  const queue = (queuedPrefillTokens: number, promptTokens = 100, prefillTokensPerSecond: number | null = 1000) => ({
    queuedPrefillTokens,
    promptTokens,
    prefillTokensPerSecond,
  });

  test.each([
    [queue(900), 1000],
    [queue(0), 100],
    [queue(900, 100, null), null],
    [queue(900, 100, 0), null],
  ])('%o takes %s ms', (load, ms) => {
    expect(predictedTtftMs(load)).toBe(ms);
  });

  test.each([
    ['within the objective', queue(900), 1000],
    ['no objective', queue(90_000), null],
    ['no figure yet', queue(90_000, 100, null), 10],
    ['an idle worker takes any prompt', queue(0, 100_000), 10],
  ])('admits: %s', (_, load, ttftMs) => {
    expect(admitsTtft(load, ttftMs)).toEqual({ admitted: true });
  });

  test.each([
    ['until the queue has shrunk enough', queue(5900), 2000, 4000],
    ['at least a second', queue(901), 1000, 1000],
    ['at most 30 s', queue(1_000_000), 1000, 30_000],
  ])('refuses with a hint: %s', (_, load, ttftMs, retryAfterMs) => {
    expect(admitsTtft(load, ttftMs)).toEqual({ admitted: false, retryAfterMs });
  });
});
