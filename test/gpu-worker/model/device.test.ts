import { expect, test } from 'vitest';
import { stepSizes } from '../../../gpu-worker/model/device.ts';

test.each([
  ['cpu', null, null, 32, 512],
  ['cuda', null, null, 256, 8192],
  ['cpu', 1000, null, 1000, 1000],
  ['cuda', 1000, null, 1000, 8192],
  ['cpu', null, 16, 16, 16],
  ['cuda', 4, 2048, 4, 2048],
] as const)('%s, %s sequences and %s tokens asked for', (device, seqs, tokens, maxNumSeqs, maxNumBatchedTokens) => {
  const given = { maxNumSeqs: seqs, maxNumBatchedTokens: tokens };
  expect(stepSizes(given, device)).toEqual({ maxNumSeqs, maxNumBatchedTokens });
});
