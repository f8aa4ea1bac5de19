import { describe, expect, test } from 'vitest';
import { splitIntoParts } from '../../../gpu-worker/model/runs.ts';
import { toRow } from './plans.ts';

const row = (slot: number, length = 1) => toRow({ slot, start: 0, ids: Array.from({ length }, () => 0), sample: null });

describe('splitIntoParts', () => {
  test.each([
    ['no rows', [], []],
    [
      'rows of one token in adjacent slots, in any order',
      [row(6), row(4), row(5)],
      [{ first: 4, rows: [1, 2, 0], length: 1, offset: 0 }],
    ],
    [
      'a gap of slots starts another part',
      [row(9), row(0), row(1)],
      [
        { first: 0, rows: [1, 2], length: 1, offset: 0 },
        { first: 9, rows: [0], length: 1, offset: 2 },
      ],
    ],
    [
      'longer rows are parts of their own, after the others',
      [row(1, 7), row(0), row(5, 2), row(2)],
      [
        { first: 0, rows: [1], length: 1, offset: 0 },
        { first: 2, rows: [3], length: 1, offset: 1 },
        { first: 1, rows: [0], length: 7, offset: 2 },
        { first: 5, rows: [2], length: 2, offset: 9 },
      ],
    ],
  ])('%s', (_, rows, parts) => {
    expect(splitIntoParts(rows)).toEqual(parts);
  });
});
