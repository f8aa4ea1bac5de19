import { describe, expect, test } from 'vitest';
import type { PlanRow } from '../../../gpu-worker/engine/step-plan.ts';
import { splitIntoRuns } from '../../../gpu-worker/model/runs.ts';

const row = (slot: number, length = 1): PlanRow => ({
  sequence: slot,
  slot,
  start: 0,
  ids: new Int32Array(length),
  sample: null,
});

describe('splitIntoRuns', () => {
  test('one-token rows of adjacent slots run together, in the order of slots', () => {
    expect(splitIntoRuns([row(6), row(4), row(5)])).toEqual([{ first: 4, length: 1, rows: [1, 2, 0] }]);
  });

  test('small gaps are filled with dummies, wide ones split the run', () => {
    expect(splitIntoRuns([row(0), row(4), row(9)])).toEqual([
      { first: 0, length: 1, rows: [0, null, null, null, 1] },
      { first: 9, length: 1, rows: [2] },
    ]);
  });

  test('longer rows run alone, after the one-token rows', () => {
    expect(splitIntoRuns([row(1, 7), row(0), row(2)])).toEqual([
      { first: 0, length: 1, rows: [1, null, 2] },
      { first: 1, length: 7, rows: [0] },
    ]);
  });

  test('a plan without rows has no runs', () => {
    expect(splitIntoRuns([])).toEqual([]);
  });
});
