import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const PARITY = fileURLToPath(new URL('parity.ts', import.meta.url));

/** On a machine without a GPU, or as on one. */
function testGpu(...args: readonly string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    const env = { ...process.env, CUDA_VISIBLE_DEVICES: '' };
    const child = execFile(process.execPath, [PARITY, ...args], { env }, (_error, stdout, stderr) => {
      resolve({ code: child.exitCode, stdout, stderr });
    });
  });
}

test('--help, an unknown flag and an unknown model are answered before anything is checked', async () => {
  const [help, flag, model] = await Promise.all([testGpu('--help'), testGpu('--frobnicate'), testGpu('nobody')]);
  expect(help).toMatchObject({ code: 0, stdout: expect.stringMatching(/^npm run test:gpu -- \[name\]/), stderr: '' });
  expect(flag).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(/--frobnicate/) });
  expect(model).toMatchObject({ code: 1, stderr: expect.stringMatching(/no model with "nobody".*millrace-mini\n$/) });
});

test('without a GPU it says so in one line', async () => {
  const { code, stdout, stderr } = await testGpu();
  expect([code, stdout]).toEqual([1, '']);
  expect(stderr).toMatch(/^test:gpu needs a GPU, and none can be used: .+\n$/);
});
