import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';

const BIN = fileURLToPath(new URL('../../../gpu-worker/cli/millrace.mjs', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'millrace-perplexity-'));
const input = join(folder, 'texts.jsonl');
writeFileSync(
  input,
  '{"messages": [{"role": "user", "content": "What is a KV cache?"}, {"role": "assistant", "content": "A KV cache keeps keys and values."}]}\n',
);
afterAll(() => rmSync(folder, { recursive: true }));

function perplexity(...args: readonly string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const { ORT_DISABLE_TELEMETRY: _, ...env } = process.env;
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [BIN, 'perplexity', ...args], { env }, (_error, stdout, stderr) => {
      resolve({ code: child.exitCode, stdout, stderr });
    });
  });
}

test('one line of JSON, with what was rounded and pruned; progress beside it', { timeout: 120_000 }, async () => {
  const cache = ['--quantization-cache', join(folder, 'cache'), '--threads', '1'];
  const whole = await perplexity('--input', input, ...cache);
  const small = await perplexity(
    '--input',
    input,
    '--quantization',
    'int4',
    '--prune-layers',
    '1',
    '--prune-calibration',
    input,
    ...cache,
  );
  expect(whole).toMatchObject({ code: 0, stderr: expect.stringMatching(/millrace-mini: texts 100 %\n/) });
  const [a, b] = [whole, small].map(({ stdout }) => JSON.parse(stdout) as Record<string, unknown>);
  expect(a).toMatchObject({ weights: 'none', layers: 7, kept: null });
  expect(b).toMatchObject({
    weights: 'int4 b32',
    layers: 7,
    kept: expect.toSatisfy((kept: number[]) => kept.length === 6),
  });
  expect(Number(b?.['bitsPerWeight'])).toBeCloseTo(5, 1);
  expect(Number(a?.['perplexity'])).toBeGreaterThan(1);
  expect(a?.['tokens']).toBe(b?.['tokens']);
});

test('help shows the flags of the model, and what is missing is named', { timeout: 60_000 }, async () => {
  const [help, none, noFile, bad] = await Promise.all([
    perplexity('--help'),
    perplexity(),
    perplexity('--input', folder),
    perplexity('--input', input, '--quantization-block-size', '7'),
  ]);
  expect(help.stdout).toMatch(
    /millrace perplexity --input[^]*2048 tokens[^]*in pieces[^]*--quantization-block-size[^]*--prune-layers/,
  );
  expect(none).toMatchObject({ code: 2, stderr: expect.stringMatching(/nothing to foretell: give --input/) });
  expect(noFile).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/--input is "\/.*": it must be a file of texts/),
  });
  expect(bad).toMatchObject({ code: 2, stderr: expect.stringMatching(/must be 32 or 64 or 128/) });
});
