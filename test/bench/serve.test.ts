import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const run = promisify(execFile);
const MAX_TOKENS = 16;
const spread = { median: expect.any(Number), min: expect.any(Number), max: expect.any(Number) };

interface JsonCell {
  readonly way: string;
  readonly concurrency: number;
  readonly outputTokens: number;
  readonly tokensPerSecond: { readonly median: number };
  readonly ttftP50Ms: { readonly median: number };
}

test('a quick run, whole: one JSON line, every cell with exactly the tokens asked for', async () => {
  const args = ['test/bench/serve.ts', '--quick', '--max-tokens', String(MAX_TOKENS)];
  const { stdout, stderr } = await run(process.execPath, args);
  const lines = stdout.trimEnd().split('\n');
  expect(lines[0]).toMatch(/^model +streams +way/);
  expect(lines.filter((line) => line.startsWith('{'))).toEqual(lines.slice(-1));
  expect(stderr).toContain('tiny: concurrency 4, path, round 1 of 1; about');

  const json = JSON.parse(lines.at(-1) ?? '');
  expect(json).toMatchObject({
    bench: 'serve',
    date: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
    machine: { cpu: expect.any(String), cores: expect.any(Number), node: process.version },
    parameters: { models: ['tiny'], concurrency: [1, 4], rounds: 1, requests: 1, maxTokens: MAX_TOKENS },
  });
  const cells: readonly JsonCell[] = json.cells;
  expect(cells.map(({ concurrency, way }) => `${way} ${concurrency}`)).toEqual([
    ...['engine 1', 'path 1', 'engine 4', 'path 4'],
  ]);
  for (const cell of cells) {
    expect(cell).toMatchObject({ model: 'tiny', tokensPerSecond: spread, ttftP50Ms: spread, tokensPerArrival: spread });
    expect(cell.outputTokens).toBe(cell.concurrency * MAX_TOKENS);
    expect(cell.tokensPerSecond.median).toBeGreaterThan(0);
    expect(cell.ttftP50Ms.median).toBeGreaterThan(0);
  }
  expect(json.pathToEngine).toEqual(
    [1, 4].map((concurrency) => ({ model: 'tiny', concurrency, tokensPerSecond: spread })),
  );
}, 180_000);

test('an argument that cannot be used ends with code 1, its name and nothing on stdout', async () => {
  const failed = run(process.execPath, ['test/bench/serve.ts', '--concurrency', '0']);
  await expect(failed).rejects.toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining('--concurrency') });
});
