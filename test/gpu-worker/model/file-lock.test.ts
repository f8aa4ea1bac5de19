import { existsSync, mkdtempSync, rmSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { FileLock } from '../../../gpu-worker/model/file-lock.ts';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lock-'));
  path = join(folder, 'x.lock');
});
afterEach(() => rmSync(folder, { recursive: true }));

const take = (signal = new AbortController().signal) => FileLock.take(path, signal);

test('held by one at a time', async () => {
  const first = await take();
  await expect(take(AbortSignal.abort())).rejects.toThrow('aborted');
  first.release();
  expect(existsSync(path)).toBe(false);
  (await take()).release();
});

test('one that was taken over is not given back by its first holder', async () => {
  const paused = await take();
  utimesSync(path, 0, 0);
  const other = await take();
  paused.release();
  expect(existsSync(path)).toBe(true);
  other.release();
  expect(existsSync(path)).toBe(false);
});
