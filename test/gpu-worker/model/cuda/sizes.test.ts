/** Buckets of CUDA graphs and the layout of the KV cache: pure sizes. */
import { describe, expect, test } from 'vitest';
import { bucketFor, graphId } from '../../../../gpu-worker/model/cuda/buckets.ts';
import type { Bucket } from '../../../../gpu-worker/model/cuda/buckets.ts';
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

/** Of every size that has one. */
function allBuckets(): readonly Bucket[] {
  const buckets = new Map<string, Bucket>();
  for (let rows = 1; rows <= LIMITS.maxRows; rows++) {
    for (let width = 1; width <= LIMITS.maxWidth; width++) {
      const bucket = bucketFor(rows, width, LIMITS);
      if (bucket !== null) buckets.set(`${bucket.rows}x${bucket.width}`, bucket);
    }
  }
  return [...buckets.values()];
}

test('every bucket holds itself, waste stays small, numbers are unique', () => {
  const buckets = allBuckets();
  for (const bucket of buckets) expect(bucketFor(bucket.rows, bucket.width, LIMITS)).toEqual(bucket);
  expect(new Set(buckets.map((bucket) => graphId(bucket, LIMITS))).size).toBe(buckets.length);
  for (let rows = 65; rows <= 1000; rows++) {
    const padded = bucketFor(rows, 1, LIMITS)?.rows ?? 0;
    expect(padded).toBeGreaterThanOrEqual(rows);
    expect(padded / rows).toBeLessThan(1.25);
  }
});

describe('the format of keys and values', () => {
  const llama8b = { heads: 32, kvHeads: 8, headDim: 128, attentionSoftcap: null };
  const auto = { choice: 'auto', type: 'float16', computeCapability: 9, runningSeqs: 256 } as const;

  test.each([
    ['fp8 where the GPU has it', {}, {}, 'float8e4m3fn'],
    ['int8 where it has none', {}, { computeCapability: 8 }, 'int8'],
    ['16 bits on older ones', {}, { computeCapability: 7.5 }, 'float16'],
    ['16 bits for few sequences', {}, { runningSeqs: 15 }, 'float16'],
    ['16 bits for other head sizes', { headDim: 96 }, {}, 'float16'],
    ['those of the activations for other groups', { kvHeads: 32 }, { type: 'bfloat16' }, 'bfloat16'],
    ['16 bits with a softcap', { attentionSoftcap: 50 }, {}, 'float16'],
  ] as const)('auto: %s', (_, shape, change, expected) => {
    expect(chooseKvType({ ...llama8b, ...shape }, { ...auto, ...change })).toBe(expected);
  });

  test('what is asked for is taken, however few sequences run, or refused by name', () => {
    const few = { ...auto, runningSeqs: 1 };
    expect(chooseKvType(llama8b, { ...few, choice: 'fp8' })).toBe('float8e4m3fn');
    expect(chooseKvType(llama8b, { ...few, choice: 'int8', computeCapability: 8 })).toBe('int8');
    expect(chooseKvType(llama8b, { ...auto, choice: 'float16', type: 'bfloat16' })).toBe('bfloat16');
    const refused = (choice: 'fp8' | 'int8' | 'float32', shape: object, computeCapability = 9) =>
      expect(() => chooseKvType({ ...llama8b, ...shape }, { ...auto, choice, computeCapability }));
    refused('fp8', { headDim: 96 }).toThrow(/kv-cache-dtype fp8 needs a head size of .* \(here 96\)/);
    refused('int8', { kvHeads: 32 }).toThrow(/kv-cache-dtype int8 needs 4, 6, .* query heads .* \(here 1\)/);
    refused('int8', { attentionSoftcap: 50 }).toThrow('attention without a softcap');
    refused('fp8', {}, 8).toThrow('compute capability 8.9 (here 8): take auto or float16');
    refused('float32', {}).toThrow('on a GPU take auto, float16, fp8 or int8');
  });
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
  // More set aside for CUDA graphs than there is.
  expect(() => blocksThatFit({ ...BUDGET, freeBytes: -4e9 })).toThrow(/ 0\.0 free after .*--cuda-graph-memory-mib/s);
  expect(() => blocksThatFit({ ...BUDGET, kvCacheTokens: 1000 })).toThrow('--kv-cache-tokens (kvCacheTokens) is 1000');
});
