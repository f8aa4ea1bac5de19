import fc from 'fast-check';
import { expect, test } from 'vitest';
import { applyRules } from '../../../gpu-worker/sample/apply-rules.ts';
import type { LogitsMask, LogitsRules } from '../../../gpu-worker/sample/logits-rules.ts';
import { TokenHistory } from '../../../gpu-worker/sample/token-history.ts';
import { NO_DRAFTS, NO_RULES, ruled } from './reference.ts';

const SIZE = 75;
const ids = fc.integer({ min: 0, max: SIZE - 1 });
const tokens = fc.array(ids, { maxLength: 12 });

function maskOf(words: Uint32Array | null): LogitsMask {
  return { allowed: () => words, accept: () => undefined };
}

const rulesBeforeHistory = fc.record({
  repetitionPenalty: fc.oneof(fc.constant(1), fc.double({ min: 0.5, max: 2, noNaN: true })),
  frequencyPenalty: fc.oneof(fc.constant(0), fc.double({ min: -2, max: 2, noNaN: true })),
  presencePenalty: fc.oneof(fc.constant(0), fc.double({ min: -2, max: 2, noNaN: true })),
  bias: fc.uniqueArray(fc.tuple(ids, fc.double({ min: -100, max: 100, noNaN: true })), { selector: ([id]) => id }),
  forbidden: fc.option(fc.record({ ids: tokens, untilIndex: fc.nat({ max: 20 }) })),
  mask: fc.option(fc.option(fc.uint32Array({ minLength: 3, maxLength: 3 })).map(maskOf)),
});
const cases = fc.record({
  logits: fc.array(fc.double({ min: -30, max: 30, noNaN: true }), { minLength: SIZE, maxLength: SIZE }),
  rules: rulesBeforeHistory,
  prompt: tokens,
  output: tokens,
  drafts: tokens,
});

test('every rule equals the reference in float64, and drafts equal the same tokens in the output', () => {
  fc.assert(
    fc.property(cases, ({ logits, rules: rest, prompt, output, drafts }) => {
      const history = (tokensSoFar: readonly number[]): LogitsRules => ({
        ...rest,
        history: new TokenHistory(prompt, tokensSoFar),
      });
      const whole = [...output, ...drafts];
      const row = Float32Array.from(logits);
      const drafted = row.slice();
      applyRules(drafted, history(output), { index: whole.length, drafts: Int32Array.from(drafts) });
      ruled(row, history(output), whole).forEach((expected, id) => {
        if (Number.isFinite(expected)) expect(Math.abs((drafted[id] ?? 0) - expected)).toBeLessThan(2e-5);
        else expect(drafted[id]).toBe(expected);
      });
      const accepted = row.slice();
      applyRules(accepted, history(whole), { index: whole.length, drafts: NO_DRAFTS });
      expect(drafted).toEqual(accepted);
    }),
    { numRuns: 500, seed: 7 },
  );
});

test('rules touch the ids concerned and no others', () => {
  const rules: LogitsRules = {
    ...NO_RULES,
    repetitionPenalty: 2,
    frequencyPenalty: 0.5,
    presencePenalty: 0.25,
    history: new TokenHistory([2, 4], [4, 4, 4]),
    bias: [[5, -1]],
    forbidden: { ids: [6], untilIndex: 9 },
  };
  const logits = Float32Array.of(8, 8, 8, 8, 8, 8, 8, 8);
  applyRules(logits, rules, { index: 8, drafts: Int32Array.of(7, 7) });
  expect([...logits]).toEqual([8, 8, 4, 8, 4 - 1.5 - 0.25, 7, -Infinity, 4 - 1 - 0.25]);
  const later = Float32Array.of(8, 8, 8, 8, 8, 8, 8, 8);
  applyRules(later, rules, { index: 9, drafts: NO_DRAFTS });
  expect(later[6]).toBe(8);
});

test('ids beyond the vocabulary change nothing, a mask that is too short allows nothing behind its end', () => {
  const logits = new Float32Array(80).fill(1);
  const row = logits.subarray(0, 40);
  const history = new TokenHistory([42], [41]);
  const penalties = { repetitionPenalty: 2, frequencyPenalty: 1, presencePenalty: 1, history };
  const rules = { ...NO_RULES, ...penalties, bias: [[43, 5]], forbidden: { ids: [44], untilIndex: 1 } } as const;
  applyRules(row, rules, { index: 0, drafts: Int32Array.of(45) });
  expect([...logits]).toEqual(new Array(80).fill(1));
  applyRules(row, { ...NO_RULES, mask: maskOf(Uint32Array.of(0xffff_ffff)) }, { index: 0, drafts: NO_DRAFTS });
  expect([...logits]).toEqual(Array.from({ length: 80 }, (_, id) => (id >= 32 && id < 40 ? -Infinity : 1)));
});
