import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { NGRAM_DEFAULTS, NgramDrafter, type NgramOptions } from '../../../gpu-worker/speculate/ngram.ts';
import { cpuMs } from '../../support/cpu-time.ts';

function drafterOf(tokens: readonly number[], options?: NgramOptions): NgramDrafter {
  const drafter = new NgramDrafter(options);
  drafter.reset(Int32Array.from(tokens));
  return drafter;
}

const OPTIONS: NgramOptions = { ...NGRAM_DEFAULTS, longest: 5, shortest: 2 };

/** The rule itself: the latest earlier occurrence of the longest n-gram that ends the text, continued. */
function naive(tokens: readonly number[], count: number, { longest, shortest }: NgramOptions): readonly number[] {
  for (let n = longest; n >= shortest; n--) {
    const suffix = tokens.slice(-n).join();
    for (let end = tokens.length - 1; end >= n; end--) {
      if (tokens.length < n || tokens.slice(end - n, end).join() !== suffix) continue;
      const text = [...tokens];
      for (let i = 0; i < count; i++) text.push(text[end + i] ?? NaN);
      return text.slice(tokens.length);
    }
  }
  return [];
}

describe('proposals', () => {
  test('what followed the longest n-gram, not the latest one', () => {
    const tokens = [1, 2, 3, 4, 50, 9, 3, 4, 60, 1, 2, 3, 4];
    expect([...drafterOf(tokens).propose(2)]).toEqual([50, 9]);
  });

  test('of equal n-grams the latest', () => {
    expect([...drafterOf([1, 2, 3, 50, 1, 2, 3, 60, 1, 2, 3]).propose(1)]).toEqual([60]);
  });

  test('a period goes on beyond the known text', () => {
    expect([...drafterOf([7, 8, 7, 8, 7, 8], OPTIONS).propose(5)]).toEqual([7, 8, 7, 8, 7]);
    expect([...drafterOf([9, 5, 5, 5, 5]).propose(4)]).toEqual([5, 5, 5, 5]);
  });

  test('nothing without a match, without text, for a count of none, or after the end', () => {
    expect(drafterOf([1, 2, 3, 4, 5, 6]).propose(4)).toHaveLength(0);
    expect(drafterOf([]).propose(4)).toHaveLength(0);
    expect(new NgramDrafter().propose(4)).toHaveLength(0);
    const drafter = drafterOf([1, 2, 3, 1, 2, 3]);
    expect(drafter.propose(0)).toHaveLength(0);
    drafter.dispose();
    expect(drafter.propose(4)).toHaveLength(0);
  });

  test('a bigram is no match unless asked for', () => {
    const tokens = [1, 2, 3, 9, 2, 3];
    expect(drafterOf(tokens).propose(1)).toHaveLength(0);
    expect([...drafterOf(tokens, OPTIONS).propose(1)]).toEqual([9]);
  });

  test('any text, told in any pieces: the naive rule, token for token', () => {
    const pieces = fc.array(fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 12 }), { maxLength: 12 });
    fc.assert(
      fc.property(pieces, fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 3 }), (texts, count, shortest) => {
        const options = { ...OPTIONS, shortest };
        const [first = [], ...rest] = texts;
        const drafter = drafterOf(first, options);
        for (const each of rest) {
          drafter.observe(each);
          // Asking in between changes nothing.
          drafter.propose(2);
        }
        expect([...drafter.propose(count)]).toEqual(naive(texts.flat(), count, options));
      }),
    );
  });

  test('a reset forgets', () => {
    const drafter = drafterOf([1, 2, 3, 4, 1, 2, 3]);
    drafter.reset(Int32Array.of(1, 2, 3));
    expect(drafter.propose(1)).toHaveLength(0);
    expect(drafter.matchLength()).toBe(0);
  });

  test('the caller may change its array afterwards', () => {
    const tokens = Int32Array.of(1, 2, 3, 4, 1, 2, 3);
    const drafter = new NgramDrafter();
    drafter.reset(tokens);
    tokens.fill(0);
    expect([...drafter.propose(1)]).toEqual([4]);
  });
});

test('the match length counts common tokens back, beyond the longest n-gram, and is 0 without a match', () => {
  const page = Array.from({ length: 30 }, (_, i) => 100 + i);
  expect(drafterOf([...page, 1, 2, ...page.slice(0, 4)]).matchLength()).toBe(4);
  expect(drafterOf([...page, 1, 2, ...page.slice(0, 12)]).matchLength()).toBe(12);
  expect(drafterOf([...page, 1, 2, ...page]).matchLength()).toBe(16);
  expect(drafterOf(page).matchLength()).toBe(0);
});

describe('bounds', () => {
  const window = 256;
  const small: NgramOptions = { ...NGRAM_DEFAULTS, window };

  test('what lies before the window is forgotten, what lies in it is found across the seam', () => {
    const marker = [1, 2, 3, 4];
    for (const [between, found] of [
      [200, [4, 100]],
      [window, []],
    ] as const) {
      const filler = Array.from({ length: 900 }, (_, i) => 1000 + i);
      const text = [...filler, ...marker, ...Array.from({ length: between }, (_, i) => 100 + i), 1, 2, 3];
      expect([...drafterOf(text, small).propose(2)]).toEqual(found);
    }
  });

  test('inside the window a long history changes nothing: equal to a drafter that only knows the window', () => {
    let state = 1;
    const draw = () => (state = (Math.imul(state, 48_271) + 11) >>> 0) % 5;
    const text = Array.from({ length: 3000 }, draw);
    const drafter = drafterOf(text.slice(0, 700), small);
    for (let at = 700; at < text.length; at++) {
      drafter.observe([text[at] ?? 0]);
      if (at % 97 !== 0) continue;
      const known = text.slice(Math.max(0, at + 1 - window), at + 1);
      expect([...drafter.propose(4)]).toEqual([...drafterOf(known, small).propose(4)]);
    }
  });

  test('options that make no sense are refused', () => {
    expect(() => new NgramDrafter({ ...NGRAM_DEFAULTS, window: 1000 })).toThrow('window');
    expect(() => new NgramDrafter({ ...NGRAM_DEFAULTS, longest: 2 })).toThrow('n-grams');
    expect(() => new NgramDrafter({ ...NGRAM_DEFAULTS, shortest: 0 })).toThrow('n-grams');
  });

  test('100,000 tokens are indexed in milliseconds, and the worst text costs no more than a bounded walk', () => {
    const text = Int32Array.from({ length: 100_000 }, (_, i) => Math.imul(i, 2_654_435_761) >>> 17);
    const drafter = new NgramDrafter();
    const indexMs = cpuMs(() => drafter.reset(text));
    // About 5 ms.
    expect(indexMs).toBeLessThan(100);
    drafter.reset(new Int32Array(100_000));
    const walksMs = cpuMs(() => {
      for (let i = 0; i < 1000; i++) {
        drafter.observe([i % 2]);
        drafter.propose(8);
      }
    });
    expect(walksMs / 1000).toBeLessThan(0.2);
  });
});
