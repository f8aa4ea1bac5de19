/** Buckets of CUDA graphs and the layout of the KV cache: pure sizes. */
import { expect, test } from 'vitest';
import { allBuckets, bucketFor, graphId } from '../../../../gpu-worker/model/cuda/buckets.ts';
import { blockBytes, blocksThatFit, blockSizeFor, chooseKvType } from '../../../../gpu-worker/model/cuda/kv-layout.ts';
import { readModelConfig } from '../../../../gpu-worker/model/config.ts';
import { fixture } from '../plans.ts';

const LIMITS = { maxRows: 1000, maxWidth: 20 };

test.each([
  [1, 1, { rows: 1, width: 1 }],
  [2, 1, { rows: 2, width: 1 }],
  [3, 2, { rows: 4, width: 2 }],
  [9, 3, { rows: 16, width: 4 }],
  [65, 5, { rows: 80, width: 8 }],
  [257, 9, { rows: 288, width: 16 }],
  [999, 17, { rows: 1000, width: 20 }],
])('%i rows of %i blocks', (rows, width, bucket) => {
  expect(bucketFor(rows, width, LIMITS)).toEqual(bucket);
});

test('what is larger than any bucket has none', () => {
  expect(bucketFor(1001, 1, LIMITS)).toBeNull();
  expect(bucketFor(1, 21, LIMITS)).toBeNull();
  expect(bucketFor(0, 1, LIMITS)).toBeNull();
});

test('every bucket holds itself, waste stays small, numbers are unique', () => {
  const buckets = allBuckets(LIMITS);
  for (const bucket of buckets) expect(bucketFor(bucket.rows, bucket.width, LIMITS)).toEqual(bucket);
  expect(new Set(buckets.map((bucket) => graphId(bucket, LIMITS))).size).toBe(buckets.length);
  for (let rows = 65; rows <= 1000; rows++) {
    const padded = bucketFor(rows, 1, LIMITS)?.rows ?? 0;
    expect(padded).toBeGreaterThanOrEqual(rows);
    expect(padded / rows).toBeLessThan(1.25);
  }
});

test('fp8 where its fast kernel takes the shape and the GPU has it', () => {
  const llama8b = { heads: 32, kvHeads: 8, headDim: 128 };
  const auto = { choice: 'auto', type: 'float16', computeCapability: 9 } as const;
  expect(chooseKvType(llama8b, auto)).toBe('float8e4m3fn');
  expect(chooseKvType(llama8b, { ...auto, computeCapability: 8 })).toBe('float16');
  expect(chooseKvType({ ...llama8b, headDim: 96 }, auto)).toBe('float16');
  expect(chooseKvType({ ...llama8b, kvHeads: 32 }, { ...auto, type: 'bfloat16' })).toBe('bfloat16');
  expect(() => chooseKvType({ ...llama8b, headDim: 96 }, { ...auto, choice: 'fp8' })).toThrow('here 96');
  expect(() => chooseKvType(llama8b, { ...auto, choice: 'fp8', computeCapability: 8 })).toThrow('8.9');
});

test('blocks are what flash attention reads in place', () => {
  expect([16, 64, 96, 128, 256].map(blockSizeFor)).toEqual([256, 256, 128, 128, 64]);
  const config = readModelConfig(fixture('millrace-mini'));
  expect(blockBytes(config, 'float16', 256)).toBe(256 * 2 * 64 * 2);
});

const BUDGET = {
  ...{ totalBytes: 80e9, freeBytes: 60e9, utilization: 0.9, bytesPerBlock: 8e6, blockSize: 128 },
  ...{ maxModelLen: 4096, maxNumSeqs: 1024, kvCacheTokens: null },
};

test('the cache takes what is free above the share that stays free', () => {
  expect(blocksThatFit(BUDGET)).toBe(6500);
  expect(blocksThatFit({ ...BUDGET, kvCacheTokens: 10_000 })).toBe(79);
  expect(blocksThatFit({ ...BUDGET, maxNumSeqs: 2 })).toBe(128);
});

test('a model that does not fit is refused with figures', () => {
  expect(() => blocksThatFit({ ...BUDGET, freeBytes: 8.1e9 })).toThrow(/room for 12 KV blocks.*may need 32.*lower/s);
  expect(() => blocksThatFit({ ...BUDGET, kvCacheTokens: 1000 })).toThrow('kvCacheTokens = 1000');
});
