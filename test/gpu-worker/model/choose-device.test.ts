/** Where a model runs on a machine without a GPU, and with a driver that will not do. */
import { expect, test } from 'vitest';
import { chooseDevice } from '../../../gpu-worker/model/choose-device.ts';
import { openModel } from '../../../gpu-worker/model/load.ts';
import { driverProblem, whyNoCuda } from '../../../gpu-worker/model/runtime/cudart.ts';
import { fixture } from './plans.ts';

const hasGpu = whyNoCuda() === null;

test.skipIf(hasGpu)('auto is the CPU, and cuda says in one line what is missing', () => {
  expect(chooseDevice('auto')).toBe('cpu');
  const options = { maxNumSeqs: 2, maxModelLen: 64, maxStepTokens: 64, kvCacheTokens: null, threads: 1 } as const;
  const progress: number[] = [];
  const onProgress = ({ doneBytes }: { doneBytes: number }) => void progress.push(doneBytes);
  for (const quantization of ['none', 'int4'] as const) {
    const open = () =>
      openModel({ ...options, folder: fixture('tiny-llama'), quantization, device: 'cuda', onProgress });
    expect(open).toThrow(/^no GPU can be used: .*(libcudart\.so\.13|driver).*--device cpu/);
    expect(open).not.toThrow('\n');
  }
  // Rounding takes minutes of a large model: it is told before.
  expect(progress).toEqual([]);
  expect(() => chooseDevice('cuda')).toThrow('no GPU can be used');
});

test.each([
  [0, 'no NVIDIA driver is loaded'],
  [12_090, 'the NVIDIA driver speaks CUDA 12.9, 13.0 is needed: install driver 580 or newer'],
  [13_000, null],
  [13_020, null],
])('a driver of version %i: %s', (version, problem) => {
  expect(driverProblem(version)).toBe(problem);
});
