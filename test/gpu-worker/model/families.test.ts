/** Every family against transformers, on the tiny checkpoints of infra/fixtures/make_families.py. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FAMILIES } from '../../../gpu-worker/model/families/family.ts';
import { readModelConfig } from '../../../gpu-worker/model/config.ts';
import { LogitsRun } from './logits-run.ts';
import { fixture, GREEDY } from './plans.ts';
import type { RowSpec } from './plans.ts';

/** Largest |ours − theirs| of a row of logits over the row's largest |theirs|. */
const MAX_RELATIVE_ERROR = 1e-4;
const CAPACITY = 110;

interface Case {
  readonly promptLength: number;
  readonly ids: readonly number[];
  /** [1 + decode steps][V] */
  readonly logits: readonly Float32Array[];
}

const folders = readdirSync(fixture('families'));
const folderOf = (name: string): string => fixture(join('families', name));

function readCases(name: string, vocabSize: number): readonly Case[] {
  const stored = JSON.parse(readFileSync(join(folderOf(name), 'golden.json'), 'utf8')) as {
    promptLength: number;
    ids: number[];
    logits: string;
  }[];
  return stored.map(({ promptLength, ids, logits }) => {
    const bytes = Uint8Array.from(Buffer.from(logits, 'base64'));
    const all = new Float32Array(bytes.buffer);
    const rows = ids.length - promptLength + 1;
    expect(all).toHaveLength(rows * vocabSize);
    return {
      promptLength,
      ids,
      logits: Array.from({ length: rows }, (_, row) => all.subarray(row * vocabSize, (row + 1) * vocabSize)),
    };
  });
}

function relativeError(ours: Float32Array | undefined, theirs: Float32Array | undefined): number {
  if (ours === undefined || theirs === undefined) return NaN;
  let [difference, largest] = [0, 0];
  theirs.forEach((value, i) => {
    difference = Math.max(difference, Math.abs(value - (ours[i] ?? NaN)));
    largest = Math.max(largest, Math.abs(value));
  });
  return difference / largest;
}

/** The largest error over all cases in one batch: prompts in pieces of `chunk` tokens, then a token each a step. */
function worstError(run: LogitsRun, cases: readonly Case[], chunk: number): number {
  const done = cases.map(() => 0);
  let worst = 0;
  while (cases.some(({ ids }, slot) => (done[slot] ?? 0) < ids.length)) {
    const rows: RowSpec[] = [];
    const wanted: (Float32Array | undefined)[] = [];
    cases.forEach(({ ids, promptLength, logits }, slot) => {
      const start = done[slot] ?? 0;
      const end = start < promptLength ? Math.min(promptLength, start + chunk) : start + 1;
      if (start >= ids.length) return;
      const drawn = end >= promptLength;
      rows.push({ slot, start, ids: ids.slice(start, end), sample: drawn ? GREEDY : null });
      if (drawn) wanted.push(logits[end - promptLength]);
      done[slot] = end;
    });
    run.step(rows).forEach((ours, row) => (worst = Math.max(worst, relativeError(ours, wanted[row]))));
  }
  return worst;
}

test('every family has a checkpoint', () => {
  const covered = new Set(folders.map((name) => readModelConfig(folderOf(name)).family));
  expect(FAMILIES.filter((family) => !covered.has(family))).toEqual([]);
});

describe.each(folders)('%s: logits of prefill and 32 decode steps', { timeout: 60_000 }, (name) => {
  let run: LogitsRun;
  let cases: readonly Case[];

  beforeAll(() => {
    cases = readCases(name, readModelConfig(folderOf(name)).vocabSize);
    run = new LogitsRun(folderOf(name), { slots: cases.length, capacity: CAPACITY });
  });
  afterAll(() => run.free());

  test.each([
    ['whole prompts', 1000],
    ['prompts in chunks, beside decoding rows', 6],
  ])('ragged batch, %s', (_, chunk) => {
    const worst = worstError(run, cases, chunk);
    if (process.env['SHOW_ERRORS'] !== undefined) console.log(name, chunk, worst.toExponential(1));
    expect(worst).toBeLessThanOrEqual(MAX_RELATIVE_ERROR);
  });
});
