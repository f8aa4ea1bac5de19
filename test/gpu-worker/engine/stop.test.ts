import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { StopMatcher, tokenFinish } from '../../../gpu-worker/engine/stop.ts';

test('however text is cut into pieces, it ends right before the first stop string', () => {
  const word = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), minLength: 1, maxLength: 3 });
  fc.assert(
    fc.property(fc.array(word, { maxLength: 20 }), fc.array(word, { minLength: 1, maxLength: 3 }), (pieces, stops) => {
      const matcher = new StopMatcher(stops);
      let shown = '';
      let fed = '';
      for (const piece of pieces) {
        fed += piece;
        const { text, stopped } = matcher.push(piece);
        shown += text;
        const at = stops.map((stop) => fed.indexOf(stop)).filter((index) => index >= 0);
        expect(stopped).toBe(at.length > 0);
        if (!stopped) continue;
        expect(shown).toBe(fed.slice(0, Math.min(...at)));
        return;
      }
      expect(shown + matcher.flush()).toBe(fed);
    }),
    { numRuns: 2000 },
  );
});

test('stop ids and eos beat length; without eos ids generation goes through them', () => {
  const rules = { eosIds: [2], stopTokenIds: [7], maxTokens: 3 };
  expect(tokenFinish(rules, 5, 1)).toBeNull();
  expect(tokenFinish(rules, 5, 3)).toBe('length');
  expect(tokenFinish(rules, 2, 3)).toBe('stop');
  expect(tokenFinish({ ...rules, eosIds: [] }, 2, 1)).toBeNull();
  expect(tokenFinish({ ...rules, eosIds: [] }, 7, 1)).toBe('stop');
});
