/** Every family against transformers, on the tiny checkpoints of infra/fixtures/make_families.py. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FAMILIES } from '../../../gpu-worker/model/families/family.ts';
import { readModelConfig } from '../../../gpu-worker/model/config.ts';
import { LogitsRun } from './logits-run.ts';
import { fixture, GREEDY } from './plans.ts';
import type { RowSpec } from './plans.ts';

/** Largest |ours − theirs| of a row of logits over the row's largest |theirs|. */
const MAX_RELATIVE_ERROR = 1e-4;
/** Between softmaxes, on average, over a KV cache of int8; a wrong graph would be near 1. */
const INT8_KV_DISTANCE = 0.1;
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

/** Half the summed difference of the two softmaxes: 0 where they are equal, 1 where they have nothing in common. */
function totalVariation(ours: Float32Array | undefined, theirs: Float32Array | undefined): number {
  const softmax = (logits: Float32Array = new Float32Array()) => {
    const top = Math.max(...logits);
    const powers = Array.from(logits, (logit) => Math.exp(logit - top));
    const sum = powers.reduce((total, power) => total + power, 0);
    return powers.map((power) => power / sum);
  };
  const exact = softmax(theirs);
  return softmax(ours).reduce((sum, p, i) => sum + Math.abs(p - (exact[i] ?? NaN)), 0) / 2;
}

type Distance = typeof relativeError;

/** Of every row of logits, all cases in one batch: prompts in pieces of `chunk` tokens, then a token each a step. */
function distances(run: LogitsRun, cases: readonly Case[], how: { chunk: number; distance: Distance }): number[] {
  const done = cases.map(() => 0);
  const found: number[] = [];
  while (cases.some(({ ids }, slot) => (done[slot] ?? 0) < ids.length)) {
    const rows: RowSpec[] = [];
    const wanted: (Float32Array | undefined)[] = [];
    cases.forEach(({ ids, promptLength, logits }, slot) => {
      const start = done[slot] ?? 0;
      const end = start < promptLength ? Math.min(promptLength, start + how.chunk) : start + 1;
      if (start >= ids.length) return;
      const drawn = end >= promptLength;
      rows.push({ slot, start, ids: ids.slice(start, end), sample: drawn ? GREEDY : null });
      if (drawn) wanted.push(logits[end - promptLength]);
      done[slot] = end;
    });
    run.step(rows).forEach((ours, row) => found.push(how.distance(ours, wanted[row])));
  }
  return found;
}

test('every family has a checkpoint', () => {
  const covered = new Set(folders.map((name) => readModelConfig(folderOf(name)).family));
  const rest = FAMILIES.filter((family) => !covered.has(family));
  expect(rest.map(({ name }) => name)).toEqual(['gemma3']);
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
    const worst = Math.max(...distances(run, cases, { chunk, distance: relativeError }));
    expect(worst).toBeLessThanOrEqual(MAX_RELATIVE_ERROR);
  });

  test.each([
    ['long chunks, which attend in float32', 40],
    ['short ones, which attend to int8', 6],
  ])('over an int8 KV cache, %s', (_, chunk) => {
    const rounded = new LogitsRun(folderOf(name), { slots: cases.length, capacity: CAPACITY }, { kvType: 'int8' });
    const found = distances(rounded, cases, { chunk, distance: totalVariation });
    rounded.free();
    const mean = found.reduce((sum, distance) => sum + distance, 0) / found.length;
    expect(mean).toBeGreaterThan(0);
    expect(mean).toBeLessThan(INT8_KV_DISTANCE);
  });
});

test('a Gemma 3 that sees as well: its text part, from a config of sizes alone', () => {
  const folder = mkdtempSync(join(tmpdir(), 'gemma3-'));
  const read = (file: string) => readFileSync(join(folderOf('gemma3'), file));
  const { hidden_size, ...text } = JSON.parse(read('config.json').toString()) as Record<string, unknown>;
  const config = { model_type: 'gemma3', eos_token_id: [1, 2], vision_config: { hidden_size: 7 } };
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...config, text_config: { ...text, hidden_size } }));
  const file = read('model.safetensors');
  const end = 8 + Number(file.readBigUInt64LE());
  const header = Buffer.from(file.subarray(8, end).toString().replaceAll('"model.', '"language_model.model.'));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  writeFileSync(join(folder, 'model.safetensors'), Buffer.concat([length, header, file.subarray(end)]));
  const run = new LogitsRun(folder, { slots: 4, capacity: CAPACITY });
  const found = distances(run, readCases('gemma3', run.config.vocabSize), { chunk: 1000, distance: relativeError });
  run.free();
  rmSync(folder, { recursive: true });
  expect(run.config.eosIds).toEqual([1, 2]);
  expect(Math.max(...found)).toBeLessThanOrEqual(MAX_RELATIVE_ERROR);
});

/** MatMulNBits takes whole blocks of 16. */
const quantizable = folders.filter((name) => readModelConfig(folderOf(name)).hiddenSize % 16 === 0);

// Random weights of 64 columns are the hardest to round; a wrong graph would be near 1.
describe.each([
  ['int8', 0.1],
  ['int4', 0.6],
] as const)('%s', (quantization, bound) => {
  test.each(quantizable)('%s keeps its distributions', (name) => {
    const cases = readCases(name, readModelConfig(folderOf(name)).vocabSize);
    const run = new LogitsRun(folderOf(name), { slots: cases.length, capacity: CAPACITY }, { quantization });
    const found = distances(run, cases, { chunk: 1000, distance: totalVariation });
    run.free();
    const mean = found.reduce((sum, distance) => sum + distance, 0) / found.length;
    expect(mean).toBeGreaterThan(0);
    expect(mean).toBeLessThan(bound);
  });
});
