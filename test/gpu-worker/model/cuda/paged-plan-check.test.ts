import { expect, test } from 'vitest';
import type { PlanRow, StepPlan } from '../../../../gpu-worker/engine/step-plan.ts';
import { checkPagedPlan } from '../../../../gpu-worker/model/cuda/paged-plan-check.ts';
import { GREEDY } from '../plans.ts';

const LIMITS = { blocks: 8, blockSize: 16, maxNumSeqs: 2, maxModelLen: 40, maxStepTokens: 20, vocabSize: 100 };
const ROW: PlanRow = {
  ...{ sequence: 5, blocks: Int32Array.of(3, 4), start: 14, ids: Int32Array.of(1, 2, 3), draws: 1, sample: GREEDY },
};

function plan(rows: readonly Partial<PlanRow>[], rest: Partial<StepPlan> = {}): StepPlan {
  const whole = rows.map((row) => ({ ...ROW, ...row }));
  const tokens = whole.reduce((sum, { ids }) => sum + ids.length, 0);
  return { id: 1, copies: [], drops: [], rows: whole, tokens, ...rest };
}

test('a plan within the limits passes', () => {
  const copies = [{ from: 0, to: 7, tokens: 16 }];
  checkPagedPlan(plan([{}, { sequence: 6, ids: Int32Array.of(-1), start: 31 }], { copies }), LIMITS);
});

test.each([
  ['more sequences than run at once', plan([{}, {}, {}]), '3 rows'],
  [
    'more tokens than a step has',
    plan([{ start: 0, ids: new Int32Array(21), blocks: Int32Array.of(0, 1) }]),
    '21 tokens',
  ],
  ['a wrong sum', plan([{}], { tokens: 9 }), '9 announced'],
  ['an empty row', plan([{ ids: new Int32Array() }]), 'sequence 5: its row is empty'],
  ['a sequence too long for the model', plan([{ start: 38, blocks: Int32Array.of(0, 1, 2) }]), '41 tokens, at most 40'],
  ['tokens beyond the blocks', plan([{ start: 30 }]), '33 tokens do not fit 2 blocks'],
  ['a block that does not exist', plan([{ blocks: Int32Array.of(3, 8) }]), 'block 8'],
  ['more draws than tokens', plan([{ draws: 4 }]), '4 draws after 3 tokens'],
  ['draws without a way to draw', plan([{ sample: null }]), 'no way to draw'],
  ['a token outside the vocabulary', plan([{ ids: Int32Array.of(100) }]), 'token 100'],
  ['a copy from nowhere', plan([], { copies: [{ from: -1, to: 2, tokens: 3 }] }), 'copy -1'],
  ['a copy of more than a block', plan([], { copies: [{ from: 1, to: 2, tokens: 17 }] }), '17 tokens'],
])('%s is refused', (_, refused, problem) => {
  expect(() => checkPagedPlan(refused, LIMITS)).toThrow(problem);
});
