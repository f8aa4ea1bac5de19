/** How many sessions a model has, and what is set for those that are made. */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { sessionRows } from '../../../../gpu-worker/model/cuda/kernel-choice.ts';

test.each([
  ['none', 1024, [32, 1024]],
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

const MODULE = fileURLToPath(new URL('../../../../gpu-worker/model/cuda/kernel-choice.ts', import.meta.url));

/** In a process of its own: variables are the process's. */
function chosen(calls: string, env: Record<string, string> = {}): unknown {
  const script = `import { chooseProductKernels, chooseRoundedKernel } from ${JSON.stringify(MODULE)};
    const seen = [];
    const note = () => seen.push([process.env.ORT_FPA_INTB_GEMM, process.env.CUBLAS_WORKSPACE_CONFIG]);
    ${calls}
    console.log(JSON.stringify(seen));`;
  const args = ['--input-type=module', '--eval', script];
  return JSON.parse(
    execFileSync(process.execPath, args, { encoding: 'utf8', env: { PATH: process.env['PATH'], ...env } }),
  );
}

const CALLS = `chooseProductKernels();
  for (const rows of [4, 64]) { chooseRoundedKernel('int4 b32', rows); note(); }
  chooseRoundedKernel('int8 b32', 4); note();`;

test('each session has the kernel that is best for it', () => {
  expect(chosen(CALLS)).toEqual([
    ['0', ':0:0'],
    ['1', ':0:0'],
    ['1', ':0:0'],
  ]);
});

test('what whoever started the process has set stays', () => {
  const env = { ORT_FPA_INTB_GEMM: '0', CUBLAS_WORKSPACE_CONFIG: ':4096:8' };
  expect(chosen(CALLS, env)).toEqual([
    ['0', ':4096:8'],
    ['0', ':4096:8'],
    ['0', ':4096:8'],
  ]);
});
