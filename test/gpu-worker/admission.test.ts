import { describe, expect, test } from 'vitest';
import { checkCapacity, checkLength, checkTokens } from '../../gpu-worker/admission.ts';
import { thrownBy } from '../support/thrown.ts';

const LIMITS = { slots: 2, maxWaiting: 3, maxQueuedPrefillTokens: 100, maxModelLen: 50 };
const IDLE = { live: 0, queuedPrefillTokens: 0, tokensPerSecond: null, draining: false };
const ask = (promptTokens: number, maxTokens: number | null = null) => ({ promptTokens, maxTokens, param: 'messages' });

describe('capacity', () => {
  test('slots and queue fill up to their sum', () => {
    expect(() => checkCapacity(LIMITS, { ...IDLE, live: 4 })).not.toThrow();
    expect(thrownBy(() => checkCapacity(LIMITS, { ...IDLE, live: 5 }))).toMatchObject({ code: 'slow_down' });
  });

  test('a draining worker takes nothing, even idle', () => {
    expect(thrownBy(() => checkCapacity(LIMITS, { ...IDLE, draining: true }))).toMatchObject({ code: 'draining' });
  });

  test.each([
    [null, 5000, 1000],
    [1000, 5000, 5000],
    [1000, 10, 1000],
    [1, 5000, 30_000],
  ])('retry hint at %s tokens/s with %i queued is %i ms', (tokensPerSecond, queuedPrefillTokens, retryAfterMs) => {
    const load = { ...IDLE, live: 5, tokensPerSecond, queuedPrefillTokens };
    expect(thrownBy(() => checkCapacity(LIMITS, load))).toMatchObject({ retryAfterMs });
  });
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
});

test('a prompt that cannot fit by its size alone is refused before it is tokenized', () => {
  expect(() => checkLength(LIMITS, { fewestTokens: 49, param: 'prompt' })).not.toThrow();
  const refusal = thrownBy(() => checkLength(LIMITS, { fewestTokens: 50, param: 'prompt' }));
  expect(refusal).toMatchObject({ code: 'context_length_exceeded', param: 'prompt' });
  expect(String(refusal)).toMatch(/50 tokens.*at least 50/);
});
