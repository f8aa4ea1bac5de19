import { describe, expect, test } from 'vitest';
import { compressMessages } from '../../../edge/compress/compress.ts';
import { effectOn, paceOf } from './measure.ts';
import { KINDS, makePrompt } from './prompts.ts';

const LOSSLESS = { name: 'lossless', options: { mode: 'lossless', rate: 1 } } as const;
const LOSSY = { name: 'lossy', options: { mode: 'lossy', rate: 0.5 } } as const;
const words = (text: string) => text.split(/\s+/).length;

describe.each(KINDS)('%s', (kind) => {
  const prompts = Array.from({ length: 10 }, (_, seed) => makePrompt(kind, seed));

  test('a prompt is a function of its seed, and every fact stands in it', () => {
    expect(makePrompt(kind, 3)).toEqual(prompts[3]);
    expect(makePrompt(kind, 4)).not.toEqual(prompts[3]);
    for (const { messages, facts } of prompts) {
      const whole = messages.map(({ content }) => content).join('\n');
      for (const { answer, question } of facts)
        expect([whole.includes(answer), whole.includes(question)]).toEqual([true, true]);
    }
  });

  test('compression keeps all that is protected and, lossless, every answer', () => {
    const lossless = effectOn(prompts, LOSSLESS, words);
    expect(lossless.keptSpans).toBe(lossless.spans);
    expect(lossless.keptFacts).toBe(lossless.facts);
    const lossy = effectOn(prompts, LOSSY, words);
    expect(lossy.keptSpans).toBe(lossy.spans);
    expect(lossy.spans).toBeGreaterThan(0);
  });
});

test.each(KINDS)('%s: lossy never saves less than lossless, at no rate', (kind) => {
  for (let seed = 0; seed < 60; seed++) {
    const { messages } = makePrompt(kind, seed);
    const { savedBytes } = compressMessages(messages, LOSSLESS.options);
    for (const rate of [0.2, 0.5, 0.7, 0.95]) {
      expect(compressMessages(messages, { mode: 'lossy', rate }).savedBytes).toBeGreaterThanOrEqual(savedBytes);
    }
  }
});

test('answers stay at half rate, and documents shrink', () => {
  const prompts = Array.from({ length: 30 }, (_, seed) => makePrompt('documents', seed));
  const effect = effectOn(prompts, LOSSY, words);
  expect(effect.keptFacts / effect.facts).toBeGreaterThan(0.9);
  expect(effect.savedTokens / effect.tokens).toBeGreaterThan(0.2);
});

test('pace is measured on so many bytes', () => {
  const pace = paceOf([makePrompt('chat', 1)], LOSSLESS, { bytes: 10_000, runs: 5 });
  expect(pace.bytes).toBeGreaterThanOrEqual(10_000);
  expect(pace.p50Ms).toBeLessThanOrEqual(pace.p99Ms);
});
