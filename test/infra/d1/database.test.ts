import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { devFolder, placeOf } from '../../../infra/d1/database.ts';

let root = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'millrace-d1-'));
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

const toml = (id: string) => writeFileSync(join(root, 'wrangler.toml'), `database_id = "${id}"\n`);

test('of flags that name two databases neither is taken', () => {
  toml('1b4e28ba-2fa1-4d2c-883f-0016d3cca427');
  expect(placeOf(true, undefined, root)).toEqual({ remote: true });
  expect(placeOf(false, root)).toEqual({ remote: false, folder: root });
  expect(() => placeOf(true, root, root)).toThrow('--remote and --persist-to name two databases; use one.');
});

test('in the cloud, before there is a database: what to do', () => {
  toml('00000000-0000-0000-0000-000000000000');
  expect(() => placeOf(true, undefined, root)).toThrow(
    '--remote: the database_id in wrangler.toml names no database yet; put the id there that',
  );
});
