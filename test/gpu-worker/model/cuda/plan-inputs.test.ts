import { describe, expect, test } from 'vitest';
import { PLACEHOLDER } from '../../../../gpu-worker/engine/step-plan.ts';
import type { PlanRow } from '../../../../gpu-worker/engine/step-plan.ts';
import {
  drawPlaces,
  layoutOf,
  ownShape,
  packPart,
  splitIntoParts,
  wordsOfLargestStep,
} from '../../../../gpu-worker/model/cuda/plan-inputs.ts';
import type { Part, PartLimits, PartShape } from '../../../../gpu-worker/model/cuda/plan-inputs.ts';
import { GREEDY } from '../plans.ts';

const BLOCK_SIZE = 16;
const LIMITS: PartLimits = { maxDraws: 8, decodesApart: true, maxExpanded: 1000, blockSize: BLOCK_SIZE };
const DRAWN = 100;

function row(sequence: number, blocks: number[], start: number, ids: number[], draws = 1): PlanRow {
  const sample = draws === 0 ? null : GREEDY;
  return { sequence, blocks: Int32Array.from(blocks), start, ids: Int32Array.from(ids), draws, sample };
}

/** A decode, a chunk of a prompt, the decode of a token not known yet, a verification, the end of a prompt. */
const MIXED: readonly PlanRow[] = [
  row(11, [4], 5, [7]),
  row(12, [2, 6], 14, [1, 2, 3, 4], 0),
  row(13, [9, 3, 5], 40, [PLACEHOLDER]),
  row(14, [8], 3, [5, 6, 9], 3),
  row(15, [1], 0, [8, 8]),
];

function pack(rows: readonly PlanRow[], part: Part, shape: PartShape, previous = new Map<number, number>()) {
  const layout = layoutOf(shape, 0);
  const words = new Int32Array(layout.end).fill(-99);
  packPart(rows, part, { words, layout, shape, blockSize: BLOCK_SIZE, drawn: DRAWN, previous });
  const { tokens, sequences, width, logits } = shape;
  const read = (at: number, count: number): number[] => [...words.subarray(at, at + count)];
  return {
    ids: read(layout.ids, tokens),
    index: read(layout.index, tokens).map((word) => word - DRAWN - layout.ids),
    slots: read(layout.slots, tokens),
    cumulative: read(layout.cumulative, sequences + 1),
    past: read(layout.past, sequences),
    blockTable: read(layout.blockTable, sequences * width),
    rows: read(layout.rows, logits),
  };
}

const onlyPart = (rows: readonly PlanRow[], limits = LIMITS): Part => {
  const [part, ...more] = splitIntoParts(rows, limits);
  if (part === undefined || more.length > 0) throw new Error(`${more.length + 1} parts`);
  return part;
};

describe('parts', () => {
  test('decodes run apart from longer rows where the cache is quantized', () => {
    const parts = splitIntoParts(MIXED, LIMITS);
    expect(parts).toEqual([
      { rows: [0, 2], tokens: 2, draws: 2, longestRow: 1, longestTotal: 41, width: 3, decode: true },
      { rows: [1, 3, 4], tokens: 9, draws: 4, longestRow: 4, longestTotal: 18, width: 2, decode: false },
    ]);
  });

  test('and with them where it is not', () => {
    expect(splitIntoParts(MIXED, { ...LIMITS, decodesApart: false })).toEqual([
      { rows: [0, 1, 2, 3, 4], tokens: 11, draws: 6, longestRow: 4, longestTotal: 41, width: 3, decode: false },
    ]);
  });

  test('have no more draws than there are rows of logits', () => {
    const rows = [row(1, [0], 0, [1, 2, 3], 3), row(2, [1], 0, [1, 2, 3], 3), row(3, [2], 0, [1, 2], 2)];
    expect(splitIntoParts(rows, { ...LIMITS, maxDraws: 5 }).map((part) => part.rows)).toEqual([[0], [1, 2]]);
  });

  test('expand no more of a quantized cache than the limit, but always run one row', () => {
    const rows = [30, 30, 30, 300].map((start, i) => row(i, [0], start, [1, 2], 0));
    const parts = splitIntoParts(rows, { ...LIMITS, maxExpanded: 70 });
    expect(parts.map((part) => part.rows)).toEqual([[0, 1], [2], [3]]);
  });

  test('a single token of a long prompt is expanded with the longer rows beside it', () => {
    const rows = [row(1, [0], 8, [1, 2], 0), row(2, [0], 8, [1, 2], 0), row(3, [0], 499, [1], 0)];
    const limits = { ...LIMITS, maxExpanded: 600 };
    expect(splitIntoParts(rows, limits).map((part) => part.rows)).toEqual([[0, 1], [2]]);
    // Among themselves such rows expand nothing.
    expect(splitIntoParts([row(1, [0], 499, [1], 0), row(2, [0], 499, [1], 0)], limits)).toHaveLength(1);
  });

  test('one token of an incomplete prompt is not a decode', () => {
    expect(onlyPart([row(1, [0], 4, [9], 0)]).decode).toBe(false);
  });

  test('none for no rows', () => {
    expect(splitIntoParts([], LIMITS)).toEqual([]);
  });
});

describe('inputs', () => {
  test('of decodes, one of them on a token that only the GPU knows', () => {
    const [part] = splitIntoParts(MIXED, LIMITS);
    if (part === undefined) throw new Error('no part');
    const packed = pack(MIXED, part, ownShape(part), new Map([[13, 42]]));
    expect(packed).toMatchObject({ ids: [7, PLACEHOLDER], slots: [4 * 16 + 5, 5 * 16 + 8] });
    expect(packed).toMatchObject({
      cumulative: [0, 1, 2],
      past: [5, 40],
      blockTable: [4, 0, 0, 9, 3, 5],
      rows: [0, 1],
    });
    // The first looks for its id among the inputs, the second at draw 42 of the plan before.
    expect(packed.index).toEqual([0, 42 - DRAWN]);
  });

  test('of a chunk across blocks, a verification and the end of a prompt', () => {
    const part = splitIntoParts(MIXED, LIMITS)[1];
    if (part === undefined) throw new Error('no part');
    expect(pack(MIXED, part, ownShape(part))).toEqual({
      ids: [1, 2, 3, 4, 5, 6, 9, 8, 8],
      index: [0, 1, 2, 3, 4, 5, 6, 7, 8],
      slots: [2 * 16 + 14, 2 * 16 + 15, 6 * 16, 6 * 16 + 1, 131, 132, 133, 16, 17],
      cumulative: [0, 4, 7, 9],
      past: [14, 3, 0],
      blockTable: [2, 6, 8, 0, 1, 0],
      // Every token of the verification, the last of the prompt, none of the chunk.
      rows: [4, 5, 6, 8],
    });
  });

  test('padded to a bucket: rows of one token that write nowhere', () => {
    const rows = [row(1, [7, 8], 17, [5])];
    const shape = { tokens: 4, sequences: 4, width: 4, logits: 4 };
    expect(pack(rows, onlyPart(rows), shape)).toEqual({
      ids: [5, 0, 0, 0],
      index: [0, 1, 2, 3],
      slots: [8 * 16 + 1, -1, -1, -1],
      cumulative: [0, 1, 2, 3, 4],
      past: [17, 0, 0, 0],
      blockTable: [7, 8, 0, 0, ...Array.from({ length: 12 }, () => 0)],
      rows: [0, 1, 2, 3],
    });
  });

  test('without a draw: the logits of one row that nobody looks at', () => {
    const rows = [row(1, [0], 0, [3, 4], 0)];
    const part = onlyPart(rows);
    expect(ownShape(part).logits).toBe(1);
    expect(pack(rows, part, ownShape(part)).rows).toEqual([0]);
  });

  test('a placeholder without a draw before it is refused', () => {
    const rows = [row(1, [0], 3, [PLACEHOLDER])];
    expect(() => pack(rows, onlyPart(rows), ownShape(onlyPart(rows)))).toThrow('sequence 1');
  });

  test('layouts begin every input at a multiple of 256 bytes and overlap nowhere', () => {
    const shape = { tokens: 65, sequences: 3, width: 30, logits: 1 };
    const { end, ...starts } = layoutOf(shape, 64);
    const places = Object.values(starts);
    expect(places.every((at) => at % 64 === 0)).toBe(true);
    expect(places.toSorted((a, b) => a - b)).toEqual(places);
    expect(new Set(places).size).toBe(places.length);
    expect(end - starts.tokenUniform).toBe(64);
  });

  test('the largest step fits the words that are set aside', () => {
    const limits = { maxStepTokens: 96, maxNumSeqs: 32, maxWidth: 5 };
    const rows = Array.from({ length: 32 }, (_, i) => row(i, [0, 0, 0, 0, 0], 70, [1, 2, 3], 3));
    const parts = splitIntoParts(rows, { ...LIMITS, maxDraws: 32 });
    const end = parts.reduce((base, part) => layoutOf(ownShape(part), base).end, 0);
    expect(end).toBeLessThanOrEqual(wordsOfLargestStep(limits));
  });

  test('so does one whose rows are too long to be expanded together: each is a part', () => {
    const limits = { maxStepTokens: 8192, maxNumSeqs: 256, maxWidth: 160 };
    const long = { ...LIMITS, maxDraws: 256, maxExpanded: 65_536, blockSize: 256 };
    const rows = Array.from({ length: 256 }, (_, i) => row(i, [], 33_000, [1, 2], 2));
    const parts = splitIntoParts(rows, long);
    const end = parts.reduce((base, part) => layoutOf(ownShape(part), base).end, 0);
    expect(parts).toHaveLength(256);
    expect(end).toBeLessThanOrEqual(wordsOfLargestStep(limits));
  });
});

test('draws come back part by part and go to their places in the plan', () => {
  const { order, bySequence } = drawPlaces(MIXED, splitIntoParts(MIXED, LIMITS));
  // The plan's draws: 11, 13, three of 14, 15.
  expect([...order]).toEqual([0, 1, 2, 3, 4, 5]);
  expect([...bySequence]).toEqual([
    [11, 0],
    [13, 1],
    [15, 5],
  ]);
  const turned = [...MIXED].reverse();
  expect([...drawPlaces(turned, splitIntoParts(turned, LIMITS)).order]).toEqual([4, 5, 0, 1, 2, 3]);
});
