/** `--model owner/name` as a user runs it, against the stand-in of the hub. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { COMMIT, HubStandIn } from '../model/hub-stand-in.ts';

const BIN = fileURLToPath(new URL('../../../gpu-worker/cli/millrace.mjs', import.meta.url));
const model = fileURLToPath(new URL('../../fixtures/tiny-llama', import.meta.url));
const cache = mkdtempSync(join(tmpdir(), 'millrace-hub-'));
let hub: HubStandIn;

beforeAll(async () => {
  hub = await HubStandIn.start();
  const files = readdirSync(model).map((path) => ({ path, content: readFileSync(join(model, path)) }));
  hub.put('some/model', files, { token: 'secret' });
});
afterAll(async () => {
  await hub.stop();
  rmSync(cache, { recursive: true });
});

function generate(flags: readonly string[], variables: Readonly<Record<string, string>>) {
  const env = { ...process.env, HF_ENDPOINT: hub.endpoint, HF_HUB_CACHE: cache, ...variables };
  const args = [
    BIN,
    'generate',
    '--prompt',
    'abc',
    '--max-tokens',
    '4',
    '--temperature',
    '0',
    '--threads',
    '1',
    ...flags,
  ];
  return new Promise<{ code: number | null; stdout: string; stderr: string }>((resolve) => {
    const child = execFile(process.execPath, args, { env }, (_error, stdout, stderr) => {
      resolve({ code: child.exitCode, stdout, stderr });
    });
  });
}

const textOf = (stdout: string) => (JSON.parse(stdout) as { outputs: { text: string }[] }).outputs[0]?.text;

test('without the token an error; then fetched, run as from the folder, and run again without a network', async () => {
  const refused = await generate(['--model', 'some/model'], {});
  expect(refused.code).not.toBe(0);
  expect(refused.stderr).toContain('some/model: the hub does not show it: check the name, and set HF_TOKEN');
  const fetched = await generate(['--model', 'some/model', '--revision', COMMIT, '--progress'], { HF_TOKEN: 'secret' });
  expect(fetched.stderr).toMatch(/model {2}[\d.]+ s/);
  const offline = await generate(['--model', 'some/model', '--revision', COMMIT], { HF_HUB_OFFLINE: '1' });
  const local = await generate(['--model', model], {});
  expect([fetched.code, offline.code, local.code]).toEqual([0, 0, 0]);
  expect(textOf(fetched.stdout)).toBe(textOf(local.stdout));
  expect(textOf(offline.stdout)).toBe(textOf(local.stdout));
}, 120_000);

test('what is neither a folder nor an id', async () => {
  const { code, stderr } = await generate(['--model', './no/such/folder'], {});
  expect(code).toBe(2);
  expect(stderr).toContain('there is no config.json in that folder, nor is it the owner/name of a model on the hub');
});
