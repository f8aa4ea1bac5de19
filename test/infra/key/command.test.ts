/** `npm run key` as people run it, on a real database, and the edge on workerd that its keys open. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { hashSecret, parseKey } from '../../../edge/key.ts';
import { runEdge, startEdge, type EdgeProcess } from '../../../infra/dev/edge.ts';
import { startNats, type NatsServer } from '../../../infra/dev/nats.ts';

const PEPPER = 'a pepper of the team';
const FORM = /\n {2}(mr_([a-z0-9]{12})_[A-Za-z0-9]{48})\n/;
const WRANGLER = 'node_modules/wrangler/bin/wrangler.js';

let folder = '';
let nats: NatsServer;
let edge: EdgeProcess | null = null;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'millrace-key-'));
  nats = await startNats();
  await node([WRANGLER, 'd1', 'migrations', 'apply', 'DB', '--local', '--persist-to', folder], { CI: 'true' });
}, 120_000);
afterAll(async () => {
  await edge?.[Symbol.asyncDispose]();
  await nats[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

interface Ran {
  readonly code: number | null;
  readonly out: string;
}

async function node(args: readonly string[], more: Readonly<Record<string, string>> = {}): Promise<Ran> {
  const { KEY_PEPPER: _, ...env } = process.env;
  const child = spawn(process.execPath, args, { env: { ...env, ...more }, stdio: ['ignore', 'pipe', 'pipe'] });
  let out = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text: Buffer) => (out += text.toString()));
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  return { code, out };
}

const command = (args: readonly string[], env: Readonly<Record<string, string>> = { KEY_PEPPER: PEPPER }) =>
  node(['infra/key/main.ts', ...args, '--persist-to', folder], env);

async function add(...flags: readonly string[]): Promise<Ran & { readonly key: string; readonly publicId: string }> {
  const ran = await command(['add', ...flags]);
  expect(ran.code, ran.out).toBe(0);
  const [, key = '', publicId = ''] = FORM.exec(ran.out) ?? [];
  return { ...ran, key, publicId };
}

/** The status and error code of a request with the key. */
async function knock(key: string, model = 'none'): Promise<readonly [status: number, code: string | undefined]> {
  const response = await fetch(`${edge?.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model, messages: [{ role: 'user', content: 'hi' }] }),
  });
  const { error } = (await response.json()) as { readonly error?: { readonly code: string } };
  return [response.status, error?.code];
}

const REFUSED = [401, 'invalid_api_key'];
/** Behind the door there is no worker. */
const OPENED = [503, 'no_worker'];

test('what is wrong is told with the fix, and nothing is written', async () => {
  const wrong: readonly (readonly [args: readonly string[], message: string])[] = [
    [['add'], 'add needs --tenant <name>'],
    [['add', '--tenant', 'a.b'], '--tenant "a.b" must have letters, digits, _ and -, 1 to 64 of them.'],
    [['add', '--tenant', 'acme', '--rate', '0.5'], '--rate applies to lossy compression: add --compression lossy'],
    [['add', '--tenant', 'acme', '--models', 'a,', 'b'], 'b: too many arguments for add.'],
    [['add', '--tenant', 'acme', '--colour', 'red'], "Unknown option '--colour'"],
    [['add', '--tenant', 'acme', '--remote'], '--remote and --persist-to name two databases; use one.'],
    [['list', '--expires', '9'], '--expires says nothing to list: leave it out.'],
    [['disable'], 'Which key? Its public id is in `npm run key -- list`.'],
    [['disable', 'abc'], 'A public id has 12 lower-case letters and digits: in mr_<public id>_<secret>'],
    [['disable', 'a1b2c3d4e5f6'], 'There is no key a1b2c3d4e5f6; `npm run key -- list` shows those that there are.'],
    [['mint'], 'mint is not a command.'],
  ];
  for (const [args, message] of wrong) {
    const { code, out } = await command(args);
    expect(out).toContain(message);
    expect(code).toBe(1);
  }
  const bare = await command(['add', '--tenant', 'acme'], {});
  expect([bare.code, bare.out]).toEqual([1, expect.stringContaining('KEY_PEPPER is not set')]);
  expect((await command(['list'])).out).toBe('There are no keys.\n');
}, 120_000);

test('keys of a fresh database open the edge that comes after, until they are disabled', async () => {
  const all = await add('--tenant', 'acme');
  expect(all.out).toContain('This key is shown only now: the database has a hash of it.');
  expect(all.out).toContain(`curl https://<your edge>/v1/models -H 'authorization: Bearer ${all.key}'`);
  const flags = ['--models', 'mini,meta/llama', '--compression', 'lossy', '--rate', '0.5', '--expires', '2999-12-31'];
  const some = await add('--tenant', 'zeta_1', ...flags);
  const { out: listed } = await command(['list']);
  const time = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`;
  expect(listed.split('\n')).toEqual([
    expect.stringMatching(/^public id +tenant +models +compression +created +expires +disabled$/),
    expect.stringMatching(new RegExp(`^${all.publicId}  acme +all +lossless +${time}  never +no$`)),
    expect.stringMatching(
      new RegExp(`^${some.publicId}  zeta_1  mini,meta/llama  lossy 0.5 +${time}  2999-12-31T00:00:00Z  no$`),
    ),
    '',
  ]);
  for (const { key } of [all, some]) {
    const secret = parseKey(key)?.secret ?? '';
    for (const text of [secret, await hashSecret(secret, PEPPER), PEPPER]) expect(listed).not.toContain(text);
    expect(all.out + some.out).not.toContain(await hashSecret(secret, PEPPER));
  }
  expect(all.out + some.out).not.toContain(PEPPER);
  expect((await command(['list', '--tenant', 'acme'])).out).not.toContain('zeta_1');

  edge = await startEdge({ nats, folder, vars: { KEY_PEPPER: PEPPER } });
  expect(await knock(all.key)).toEqual(OPENED);
  expect(await knock(some.key, 'mini')).toEqual(OPENED);
  expect(await knock(some.key, 'other')).toEqual([403, 'permission_denied']);

  const { code, out } = await command(['disable', all.publicId]);
  expect([code, out]).toEqual([0, expect.stringContaining(`Disabled ${all.publicId} (of acme). The edge forgets it`)]);
  expect((await command(['disable', all.publicId])).out).toContain(`${all.publicId} (of acme) is disabled already.`);
  expect((await command(['list', '--tenant', 'acme'])).out).toMatch(new RegExp(`${all.publicId} .* yes\n`));
  await edge[Symbol.asyncDispose]();
  edge = await runEdge(edge.state);
  expect(await knock(all.key)).toEqual(REFUSED);
  expect(await knock(some.key, 'mini')).toEqual(OPENED);
}, 240_000);

test('a development stack has its own pepper, and its URL is shown; a forged secret opens nothing', async () => {
  const other = await command(['add', '--tenant', 'acme'], { KEY_PEPPER: 'another' });
  const [, key = ''] = FORM.exec(other.out) ?? [];
  expect(await knock(key)).toEqual(OPENED);
  expect(other.out).toContain(`curl ${edge?.url}/v1/models`);
  expect(await knock(`${key.slice(0, -1)}${key.endsWith('a') ? 'b' : 'a'}`)).toEqual(REFUSED);
}, 60_000);
