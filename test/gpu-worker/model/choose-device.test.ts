/** Where a model runs on a machine without a GPU. */
import { expect, test } from 'vitest';
import { chooseDevice } from '../../../gpu-worker/model/choose-device.ts';
import { openModel } from '../../../gpu-worker/model/load.ts';
import { whyNoCuda } from '../../../gpu-worker/model/runtime/cudart.ts';
import { fixture } from './plans.ts';

const hasGpu = whyNoCuda() === null;

test.skipIf(hasGpu)('auto is the CPU, and cuda says in one line what is missing', () => {
  expect(chooseDevice('auto')).toBe('cpu');
  const options = { maxNumSeqs: 2, maxModelLen: 64, maxStepTokens: 64, kvCacheTokens: null, threads: 1 } as const;
  const open = () => openModel({ ...options, folder: fixture('tiny-llama'), quantization: 'none', device: 'cuda' });
  expect(open).toThrow(/^no GPU can be used: .*(libcudart\.so\.13|driver).*--device cpu/);
  expect(open).not.toThrow('\n');
});
