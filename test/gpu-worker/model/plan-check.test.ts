import { describe, expect, test } from 'vitest';
import { checkPlan } from '../../../gpu-worker/model/plan-check.ts';
import { PLACEHOLDER } from '../../../gpu-worker/engine/step-plan.ts';
import type { PlanRow, StepPlan } from '../../../gpu-worker/engine/step-plan.ts';
import { GREEDY, toRow } from './plans.ts';

const limits = { slots: 4, maxNumSeqs: 2, maxModelLen: 10, maxStepTokens: 8, vocabSize: 50 };
const good = toRow({ slot: 1, start: 3, ids: [1, 49, PLACEHOLDER], sample: GREEDY });

function check(change: Partial<StepPlan>): Int32Array {
  const used = Int32Array.of(0, 5, 0, 0);
  const rows = change.rows ?? [good];
  const tokens = rows.reduce((sum, { ids }) => sum + ids.length, 0);
  checkPlan({ id: 7, copies: [], drops: [], tokens, ...change, rows }, limits, used);
  return used;
}

const long = (length: number): Int32Array => new Int32Array(length);

test.each<[string, Partial<StepPlan>]>([
  ['a row that starts below what its slot holds', {}],
  ['no rows', { rows: [] }],
  [
    'a copy, and a row that goes on after it',
    { copies: [{ from: 1, to: 0, tokens: 5 }], rows: [{ ...good, blocks: Int32Array.of(0), start: 5 }] },
  ],
  [
    'copies in their order',
    {
      copies: [
        { from: 1, to: 2, tokens: 4 },
        { from: 2, to: 3, tokens: 4 },
      ],
    },
  ],
  ['a drop of a slot that holds less', { drops: [{ block: 1, tokens: 9 }] }],
  ['a row of drafts', { rows: [{ ...good, draws: 3 }] }],
])('accepted, and the state is not touched: %s', (_, change) => {
  expect([...check(change)]).toEqual([0, 5, 0, 0]);
});

const row = (change: Partial<PlanRow>): Partial<StepPlan> => ({ rows: [{ ...good, ...change }] });

describe('refused', () => {
  test.each<[string, Partial<StepPlan>]>([
    ['slot 4 does not exist', row({ blocks: Int32Array.of(4) })],
    ['slot -1 does not exist', row({ blocks: Int32Array.of(-1) })],
    ['has 0 slots, not one', row({ blocks: long(0) })],
    ['has 2 slots, not one', row({ blocks: long(2) })],
    ['slot 1 has two rows', { rows: [good, good] }],
    ['3 rows, at most 2', { rows: [good, good, good] }],
    ['slot 1 holds 5 tokens, its row starts at 6', row({ start: 6 })],
    ['its row starts at -1', row({ start: -1 })],
    ['its row starts at 0.5', row({ start: 0.5 })],
    ['is empty', row({ ids: long(0), draws: 0, sample: null })],
    ['would exceed 10 tokens', row({ ids: long(8) })],
    ['9 tokens, at most 8', { rows: [{ ...good, start: 0, ids: long(9) }] }],
    ['3 tokens in its rows, 4 announced', { tokens: 4 }],
    ['token 50', row({ ids: Int32Array.of(50) })],
    ['token -2', row({ ids: Int32Array.of(-2) })],
    ['4 draws after 3 tokens', row({ draws: 4 })],
    ['-1 draws', row({ draws: -1 })],
    ['1 draws in slot 1 with no way to draw', row({ sample: null })],
    ['0 draws in slot 1 with a way to draw', row({ draws: 0 })],
    ['copy 1 → 4 is not between slots', { copies: [{ from: 1, to: 4, tokens: 1 }] }],
    ['copy -1 → 0 is not between slots', { copies: [{ from: -1, to: 0, tokens: 1 }] }],
    ['copy of 6 tokens, slot 1 holds 5', { copies: [{ from: 1, to: 0, tokens: 6 }] }],
    ['copy of -1 tokens', { copies: [{ from: 1, to: 0, tokens: -1 }] }],
    ['slot 1 holds 0 tokens, its row starts at 3', { copies: [{ from: 0, to: 1, tokens: 0 }] }],
    ['dropped slot 4 does not exist', { drops: [{ block: 4, tokens: 0 }] }],
    ['drop from position -1', { drops: [{ block: 1, tokens: -1 }] }],
    ['slot 1 holds 2 tokens, its row starts at 3', { drops: [{ block: 1, tokens: 2 }] }],
  ])('%s', (message, change) => {
    expect(() => check(change)).toThrow(message);
    expect(() => check(change)).toThrow('plan 7');
  });
});
