import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { devFolder, PromptTable } from '../../../infra/prompt/database.ts';

let root = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'millrace-prompt-'));
});
afterEach(() => rmSync(root, { recursive: true }));

const folderOf = (pid: number | undefined) => {
  const folder = join(root, '.wrangler', `start-${pid}`);
  mkdirSync(folder, { recursive: true });
  return folder;
};

test('the folder of the running stack, whatever ended ones left behind', () => {
  folderOf(spawnSync(process.execPath, ['-e', '']).pid);
  mkdirSync(join(root, '.wrangler', 'tmp'));
  expect(() => devFolder(root)).toThrow('No development stack is running here: start one with `npm start`');
  const running = folderOf(process.pid);
  expect(devFolder(root)).toBe(running);
});

test('of several stacks one must be named', () => {
  for (const pid of [process.pid, process.ppid]) folderOf(pid);
  expect(() => devFolder(root)).toThrow('Several stacks are running; name one with --persist-to');
});

test('a database without the table: what to do', async () => {
  const table = new PromptTable({ remote: false, folder: root });
  await expect(table.list(null)).rejects.toThrow('Apply the migrations: wrangler d1 migrations apply DB.');
}, 90_000);
