import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test, vi } from 'vitest';
import { readEarlier } from '../../../gpu-worker/cli/earlier-results.ts';
import { OutputLines } from '../../../gpu-worker/cli/output-lines.ts';

const folder = mkdtempSync(join(tmpdir(), 'millrace-output-'));
afterAll(() => rmSync(folder, { recursive: true }));

test('after a write that failed half way no line follows, so that the file can be gone on with', async () => {
  const file = join(folder, 'out.jsonl');
  const config = { input: { prompts: ['a'] }, output: file, existing: 'refuse' } as const;
  const output = await OutputLines.open(config, await readEarlier(config));
  const line = (index: number) => `${JSON.stringify({ index, outputs: [] })}\n`;
  await output.write(line(0));
  const handle = await open(file);
  const { appendFile } = handle;
  await handle.close();
  const append = vi.spyOn(Object.getPrototypeOf(handle) as typeof handle, 'appendFile');
  append.mockImplementationOnce(async function (this: typeof handle, data) {
    await appendFile.call(this, String(data).slice(0, 12));
    throw new Error('ENOSPC: no space left on device, write');
  });
  const writes = await Promise.allSettled([output.write(line(1)), output.write(line(2))]);
  expect(writes.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  await expect(output.write(line(3))).rejects.toThrow(
    /^The output file took no more results: ENOSPC.*; --resume runs the rest$/,
  );
  await output.close();
  append.mockRestore();
  expect(readFileSync(file, 'utf8')).toBe(line(0) + line(1).slice(0, 12));
  const earlier = await readEarlier({ ...config, existing: 'resume' });
  expect([...earlier.hashes.keys()]).toEqual([0]);
});
