/** How many sessions a model has, and the kernels of each. */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { roundedKernel, sessionRows } from '../../../../gpu-worker/model/cuda/kernel-choice.ts';

test.each([
  ['none', 1024, [32, 128, 1024]],
  ['none', 129, [32, 128, 129]],
  ['none', 128, [32, 128]],
  ['none', 33, [32, 33]],
  ['none', 32, [32]],
  ['none', 1, [1]],
  ['int4 b32', 256, [4, 256]],
  ['int4 b32', 5, [4, 5]],
  ['int4 b32', 4, [4]],
  ['int8 b32', 256, [256]],
  ['int8 b32', 8, [8]],
])('%s, %d sequences: sessions for %j rows', (quantization, maxNumSeqs, rows) => {
  expect(sessionRows(quantization, maxNumSeqs)).toEqual(rows);
});

test('each session has the kernel that is best for its rows', () => {
  const kernel = (quantization: string, rows: number) =>
    roundedKernel(quantization, rows)['ep.cuda.fpa_intb_gemm'] ?? 'none';
  expect([4, 5, 64].map((rows) => kernel('int4 b32', rows))).toEqual(['0', '1', '1']);
  expect(kernel('int8 b32', 1)).toBe('1');
  expect(kernel('none', 1)).toBe('none');
});

const MODULE = fileURLToPath(new URL('../../../../gpu-worker/model/cuda/kernel-choice.ts', import.meta.url));

/** In a process of its own: variables are the process's. */
function workspace(env: Record<string, string>): string {
  const script = `import { chooseProductKernels } from ${JSON.stringify(MODULE)};
    chooseProductKernels();
    console.log(process.env.CUBLAS_WORKSPACE_CONFIG);`;
  const options = { encoding: 'utf8', env: { PATH: process.env['PATH'], ...env } } as const;
  return execFileSync(process.execPath, ['--input-type=module', '--eval', script], options).trim();
}

test('cuBLAS has no working memory unless whoever started the process gave it some', () => {
  expect(workspace({})).toBe(':0:0');
  expect(workspace({ CUBLAS_WORKSPACE_CONFIG: ':4096:8' })).toBe(':4096:8');
});
