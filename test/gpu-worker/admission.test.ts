import { describe, expect, test } from 'vitest';
import { checkCapacity, checkLength, checkTokens } from '../../gpu-worker/admission.ts';
import { thrownBy } from '../support/thrown.ts';

const LIMITS = {
  ...{ maxNumSeqs: 2, maxWaiting: 3, maxQueuedPrefillTokens: 100, maxModelLen: 50, kvTokens: 100 },
  ttftMs: null,
};
const IDLE = { live: 0, queuedPrefillTokens: 0, prefillTokensPerSecond: null, draining: false };
const ask = (promptTokens: number, maxTokens: number | null = null, n = 1) => {
  return { promptTokens, maxTokens, n, param: 'messages' };
};

describe('capacity', () => {
  test('batch and queue fill up to their sum, each choice counting', () => {
    expect(() => checkCapacity(LIMITS, { ...IDLE, live: 4 }, 1)).not.toThrow();
    expect(thrownBy(() => checkCapacity(LIMITS, { ...IDLE, live: 5 }, 1))).toMatchObject({ code: 'slow_down' });
    expect(thrownBy(() => checkCapacity(LIMITS, { ...IDLE, live: 4 }, 2))).toMatchObject({ code: 'slow_down' });
    const never = thrownBy(() => checkCapacity(LIMITS, IDLE, 6));
    expect(never).toMatchObject({ code: 'invalid_value', param: 'n' });
  });

  test('a draining worker takes nothing, even idle', () => {
    expect(thrownBy(() => checkCapacity(LIMITS, { ...IDLE, draining: true }, 1))).toMatchObject({ code: 'draining' });
  });

  test.each([
    [null, 5000, 1000],
    [1000, 5000, 5000],
    [1000, 10, 1000],
    [1, 5000, 30_000],
  ])(
    'retry hint at %s tokens/s with %i queued is %i ms',
    (prefillTokensPerSecond, queuedPrefillTokens, retryAfterMs) => {
      const load = { ...IDLE, live: 5, prefillTokensPerSecond, queuedPrefillTokens };
      expect(thrownBy(() => checkCapacity(LIMITS, load, 1))).toMatchObject({ retryAfterMs });
    },
  );
});

describe('tokens', () => {
  test('without a limit the output may fill the context; with one it must fit', () => {
    expect(checkTokens(LIMITS, IDLE, ask(20))).toBe(30);
    expect(checkTokens(LIMITS, IDLE, ask(20, 30))).toBe(30);
    expect(checkTokens(LIMITS, IDLE, ask(49))).toBe(1);
  });

  test.each([
    [50, null],
    [20, 31],
  ])('%i prompt tokens and %s asked for do not fit: the refusal has field and figures', (prompt, output) => {
    const refusal = thrownBy(() => checkTokens(LIMITS, IDLE, ask(prompt, output)));
    expect(refusal).toMatchObject({ code: 'context_length_exceeded', param: 'messages' });
    for (const figure of [50, prompt, output]) if (figure !== null) expect(String(refusal)).toContain(String(figure));
  });

  test('queued prompts are bounded, but an idle worker takes any that fits', () => {
    const limits = { ...LIMITS, maxQueuedPrefillTokens: 10 };
    expect(checkTokens(limits, IDLE, ask(40))).toBe(10);
    const busy = { ...IDLE, queuedPrefillTokens: 5 };
    expect(checkTokens(limits, busy, ask(5))).toBe(45);
    expect(thrownBy(() => checkTokens(limits, busy, ask(6)))).toMatchObject({ code: 'slow_down' });
  });

  test('all choices together must fit the KV cache; without a limit each gets its share', () => {
    expect(checkTokens(LIMITS, IDLE, ask(20, 30, 2))).toBe(30);
    expect(checkTokens(LIMITS, IDLE, ask(20, null, 4))).toBe(5);
    const refusal = thrownBy(() => checkTokens(LIMITS, IDLE, ask(20, 30, 3)));
    expect(refusal).toMatchObject({ code: 'context_length_exceeded', param: 'n' });
    expect(String(refusal)).toMatch(/3 choices of 20 prompt and 30 output tokens.*100 tokens/);
  });

  test('a first token later than promised is refused with a hint; an idle worker keeps no promise it cannot break', () => {
    const limits = { ...LIMITS, ttftMs: 100 };
    const slow = { ...IDLE, prefillTokensPerSecond: 100 };
    expect(checkTokens(limits, slow, ask(20))).toBe(30);
    const refusal = thrownBy(() => checkTokens(limits, { ...slow, queuedPrefillTokens: 40 }, ask(20)));
    expect(refusal).toMatchObject({ code: 'slow_down', retryAfterMs: 1000 });
  });
});

test('a prompt that cannot fit by its size alone is refused before it is tokenized', () => {
  expect(() => checkLength(LIMITS, { fewestTokens: 49, param: 'prompt' })).not.toThrow();
  const refusal = thrownBy(() => checkLength(LIMITS, { fewestTokens: 50, param: 'prompt' }));
  expect(refusal).toMatchObject({ code: 'context_length_exceeded', param: 'prompt' });
  expect(String(refusal)).toMatch(/50 tokens.*at least 50/);
});
