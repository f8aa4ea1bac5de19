import { expect, test } from 'vitest';
import { readOptions } from './options.ts';

test('variants are read from their names', () => {
  const { variants } = readOptions(['--variants', 'none,int4-b128-zp,int8-prune2']) ?? { variants: [] };
  expect(variants).toMatchObject([
    { quantization: 'none', pruneLayers: 0 },
    { quantization: 'int4', quantizationBlockSize: 128, quantizationSymmetric: false, pruneLayers: 0 },
    { quantization: 'int8', quantizationBlockSize: 32, quantizationSymmetric: true, pruneLayers: 2 },
  ]);
  expect(() => readOptions(['--variants', 'int3'])).toThrow(/--variants names "int3": it must be like int4/);
  expect(readOptions(['--help'])).toBeNull();
});
