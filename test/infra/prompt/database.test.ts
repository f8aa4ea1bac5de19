import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { PromptTable } from '../../../infra/prompt/database.ts';

let root = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'millrace-prompt-'));
});
afterEach(() => rmSync(root, { recursive: true }));

test('a database without the table: what to do', async () => {
  const table = new PromptTable({ remote: false, folder: root });
  await expect(table.list(null)).rejects.toThrow(
    `Apply the migrations: npx wrangler d1 migrations apply DB --local --persist-to ${root}`,
  );
}, 90_000);
