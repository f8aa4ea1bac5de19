/** A system prompt registered by `npm run prompt`, in the edge's own database, and what requests that begin with it or name it get. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { lookupOf } from '../../edge/prefix/router.ts';
import { mintKey } from '../../edge/key.ts';
import { shortenPrompt } from '../../infra/prompt/shorten.ts';
import type { Submit } from '../../shared/protocol.ts';
import { HandWorker } from '../support/hand-worker.ts';
import { Stack, until } from '../support/stack.ts';

const MODEL = 'millrace-mini';
/** Longer than the edge keeps what it knows of an id that it does not know. */
const FORGET_MS = 1_100;
const RULES = Array.from(
  { length: 12 },
  (_, i) => `- Please always look at shelf ${i} first in order to find parcel ${i}.   `,
);
const TEXT = [
  'You are a helpful assistant.\nYou are a very experienced clerk of the parcel shop in the old mill.\n\n\n',
  'Please note that the shop is never open at night.\n\n# Rules',
  ...RULES,
  '- You should always be kind.\n- Please be kind!',
].join('\n');
const SHORT = shortenPrompt(TEXT);

let stack: Stack;
let hand: HandWorker;
let otherKey = '';
const folder = mkdtempSync(join(tmpdir(), 'millrace-prompt-'));
const file = join(folder, 'clerk.txt');

beforeAll(async () => {
  writeFileSync(file, `${TEXT}\n`);
  const keys = async (pepper: string) => {
    const { key, publicId, secretHash } = await mintKey(pepper);
    otherKey = key;
    return [{ publicId, secretHash, tenant: 'other' }];
  };
  const flags = ['--max-num-seqs', '4', '--max-model-len', '2048', '--quantization', 'none'];
  stack = await Stack.start({ model: `models/${MODEL}`, flags, edge: { keys } });
  hand = await HandWorker.connect(stack.nats, 'hand');
}, 240_000);
afterAll(async () => {
  await hand[Symbol.asyncDispose]();
  await stack[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

interface Ran {
  readonly code: number | null;
  readonly out: string;
}

/** The command as people run it, on the stack's database while workerd has it open. */
async function prompt(...args: readonly string[]): Promise<Ran> {
  const all = ['infra/prompt/main.ts', ...args, '--persist-to', stack.edge.state.folder];
  const child = spawn(process.execPath, all, { stdio: ['ignore', 'pipe', 'pipe'] });
  let out = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text: Buffer) => (out += text.toString()));
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  return { code, out };
}

interface Usage {
  readonly prompt_tokens: number;
  readonly prompt_tokens_details: { readonly saved_bytes: number; readonly cached_tokens: number };
}

async function ask(body: object, key = stack.edge.apiKey): Promise<{ readonly text: string; readonly usage: Usage }> {
  const headers = { ...stack.headers, authorization: `Bearer ${key}` };
  const request = { model: MODEL, temperature: 0, max_tokens: 6, ...body };
  const response = await stack.post('/v1/chat/completions', request, { headers });
  expect(response.status, await response.clone().text()).toBe(200);
  const { choices, usage } = (await response.json()) as {
    readonly choices: readonly { readonly message: { readonly content: string } }[];
    readonly usage: Usage;
  };
  return { text: choices[0]?.message.content ?? '', usage };
}

const hi = { role: 'user', content: 'Where is parcel 3?' };
const system = (content: string) => ({ role: 'system', content });
const bytes = (text: string) => Buffer.byteLength(text);

/** What a worker gets of this body. */
async function submitted(body: object): Promise<Submit> {
  await until(async () => {
    await hand.heartbeat();
    return (await stack.get('/v1/models/m')).ok;
  });
  const before = hand.submits.length;
  const init = { method: 'POST', headers: stack.headers, body: JSON.stringify({ model: 'm', max_tokens: 1, ...body }) };
  const response = fetch(`${stack.edge.url}/v1/chat/completions`, init);
  await until(() => hand.submits.length > before);
  const submit = hand.submits[before] as Submit;
  const end = { id: submit.id, attempt: 1, code: 'model_error', message: 'by hand' } as const;
  await hand.send([{ type: 'stream-error', ...end }]);
  await response;
  return submit;
}

let id = '';
test('add shows the difference and what it saves, and asks; list, show', async () => {
  const asked = await prompt('add', file, '--tenant', 'dev');
  expect(asked.code).toBe(1);
  expect(asked.out).toContain('- You are a helpful assistant.\n');
  expect(asked.out).toContain('+ - Always look at shelf 3 first to find parcel 3.\n');
  expect(asked.out).toMatch(/\d+ → \d+ tokens of millrace-mini \(−[\d.]+ %\)/);
  expect(asked.out).toContain('add --yes once a person has read the difference');
  expect((await prompt('list')).out).toBe('No prompts are registered.\n');
  const added = await prompt('add', file, '--tenant', 'dev', '--yes');
  expect(added.code, added.out).toBe(0);
  id = /Registered (pr_[0-9a-f]{16}) \(clerk\)/.exec(added.out)?.[1] ?? '';
  expect((await prompt('list', '--tenant', 'dev')).out).toContain(
    `${id}  dev  clerk  ${bytes(TEXT)} → ${bytes(SHORT)} bytes`,
  );
  const shown = await prompt('show', id);
  expect(shown.out).toContain(`── text\n${TEXT}\n\n── short form\n${SHORT}\n\n── difference`);
}, 120_000);

describe('requests', () => {
  test('that begin with the text get the short form, and the answer that it gives', async () => {
    const plain = await ask({ messages: [system(SHORT), hi], cache_salt: 'a', compression: { mode: 'off' } });
    const { text, usage } = await ask({ messages: [system(TEXT), hi], cache_salt: 'b' });
    expect([text, usage.prompt_tokens]).toEqual([plain.text, plain.usage.prompt_tokens]);
    expect(usage.prompt_tokens_details.saved_bytes).toBe(bytes(TEXT) - bytes(SHORT));
  });

  test('that name it too, with or without a system message of their own', async () => {
    const whole = await ask({ messages: [system(TEXT), hi] });
    const named = await ask({ messages: [hi], prompt: { id } });
    expect([named.text, named.usage.prompt_tokens]).toEqual([whole.text, whole.usage.prompt_tokens]);
    expect(named.usage.prompt_tokens_details.cached_tokens).toBeGreaterThan(named.usage.prompt_tokens - 2);
    expect(named.usage.prompt_tokens_details.saved_bytes).toBe(bytes(TEXT) - bytes(SHORT));
    const { prompt: sent } = await submitted({ messages: [system('Today is Monday.'), hi], prompt: { id } });
    expect(sent).toEqual({ type: 'chat', messages: [system(`${SHORT}\n\nToday is Monday.`), hi] });
  });

  test('what a worker gets: the short form pinned, the rest compressed, blocks of the text that is sent', async () => {
    const submit = await submitted({ messages: [system(`${TEXT}\n\n\n\nToday is Monday.   `), hi] });
    const messages = [system(`${SHORT}\n\nToday is Monday.`), hi];
    expect(submit.prompt).toEqual({ type: 'chat', messages });
    expect(submit.pinnedUnits).toBe(SHORT.length);
    const blocks = lookupOf(submit).blocks.map(({ hash, message, end }) => ({ hash, message, end }));
    expect(submit.blocks).toEqual(blocks);
    expect(blocks.length).toBeGreaterThan(0);
  });

  test('a conversation keeps its prefix', async () => {
    const messages: object[] = [system(TEXT), hi];
    const first = await ask({ messages, cache_salt: 'talk' });
    messages.push({ role: 'assistant', content: first.text }, { role: 'user', content: 'Thank you. And parcel 5?' });
    const second = await ask({ messages, cache_salt: 'talk' });
    expect(second.usage.prompt_tokens_details.cached_tokens).toBeGreaterThanOrEqual(first.usage.prompt_tokens - 1);
  });

  test('in mode off: a text stays as it is, a name is put in', async () => {
    const compression = { mode: 'off' };
    const { prompt: sent, pinnedUnits } = await submitted({ messages: [system(TEXT), hi], compression });
    expect([sent, pinnedUnits]).toEqual([{ type: 'chat', messages: [system(TEXT), hi] }, 0]);
    const named = await submitted({ messages: [hi], prompt: { id }, compression });
    expect([named.prompt, named.pinnedUnits]).toEqual([{ type: 'chat', messages: [system(SHORT), hi] }, SHORT.length]);
  });

  test('stay in the cache of a worker under pressure, where others’ prefixes do not', async () => {
    const unregistered = system(SHORT.replaceAll('parcel', 'letter'));
    const cachedOf = async (messages: object[]) => {
      const { usage } = await ask({ messages, cache_salt: 'pressure' });
      return { cached: usage.prompt_tokens_details.cached_tokens, prompt: usage.prompt_tokens };
    };
    await cachedOf([unregistered, hi]);
    await cachedOf([system(TEXT), hi]);
    // Twice as many as the worker has slots.
    for (let i = 0; i < 16; i++) await cachedOf([system(`${i} ${SHORT.replaceAll('shelf', `box ${i}`)}`), hi]);
    await until(async () => (await stack.metric('kv_cache_pinned_tokens')) > 100);
    const next = { role: 'user', content: 'And parcel 4?' };
    const pinned = await cachedOf([system(TEXT), next]);
    expect(pinned.cached).toBeGreaterThan(pinned.prompt - 40);
    expect((await cachedOf([unregistered, next])).cached).toBeLessThan(40);
  });

  test('of another tenant: the text is only text, and the id is not there', async () => {
    const { usage } = await ask({ messages: [system(TEXT), hi] }, otherKey);
    expect(usage.prompt_tokens_details.saved_bytes).toBeLessThan(bytes(TEXT) - bytes(SHORT));
    const headers = { ...stack.headers, authorization: `Bearer ${otherKey}` };
    const response = await stack.post(
      '/v1/chat/completions',
      { model: MODEL, messages: [hi], prompt: { id } },
      { headers },
    );
    expect(response.status).toBe(404);
    expect(await response.json()).toMatchObject({ error: { code: 'not_found', param: 'prompt.id' } });
  });
});

test('a short form of one’s own, in canonical form, so that workers know it again', async () => {
  const [long, own] = [join(folder, 'long.txt'), join(folder, 'own.txt')];
  writeFileSync(long, 'You answer for the mill, whoever asks and whatever they ask.');
  writeFileSync(own, 'Answer for the mill.   \n\n\n\nBe brief.\n');
  const added = await prompt('add', long, '--tenant', 'dev', '--name', 'own', '--short', own, '--yes');
  const ownId = /Registered (pr_\w+) \(own\)/.exec(added.out)?.[1];
  await sleep(FORGET_MS);
  const { prompt: sent, pinnedUnits } = await submitted({ messages: [hi], prompt: { id: ownId } });
  const short = 'Answer for the mill.\n\nBe brief.';
  expect([sent, pinnedUnits]).toEqual([{ type: 'chat', messages: [system(short), hi] }, short.length]);
}, 120_000);

test('remove asks; then the id is refused', async () => {
  expect((await prompt('remove', id)).code).toBe(1);
  expect((await prompt('remove', id, '--yes')).out).toBe(`Removed ${id}.\n`);
  expect((await prompt('show', id)).out).toContain(`There is no prompt ${id}`);
  // The edge keeps what it knows for 10 seconds.
  await until(async () => {
    await sleep(FORGET_MS);
    const body = { model: MODEL, messages: [hi], max_tokens: 1, prompt: { id } };
    return (await stack.post('/v1/chat/completions', body)).status === 404;
  }, 30_000);
}, 120_000);

test('what is wrong is told with the fix', async () => {
  const other = join(folder, 'other.txt');
  const wrong: readonly (readonly [args: readonly string[], message: string])[] = [
    [['add', file], 'add needs --tenant <id>: the tenant whose keys send this prompt, as `npm start` prints it'],
    [['add', file, '--tenant', 'a.b'], '--tenant a.b must have letters, digits, _ and -'],
    [
      ['add', join(folder, 'none.txt'), '--tenant', 'dev'],
      'none.txt cannot be read as UTF-8 text: there is no such file',
    ],
    [['add', other, '--tenant', 'dev'], 'other.txt has 20001 bytes; a registered prompt may have 20000.'],
    [['show'], 'Which prompt?'],
    [['remove', 'pr_0', '--yes'], 'There is no prompt pr_0'],
    [['list', '--remote'], '--remote and --persist-to name two databases'],
    [['move'], 'move is not a command.'],
  ];
  writeFileSync(other, 'x'.repeat(20_001));
  for (const [args, message] of wrong) {
    const { code, out } = await prompt(...args);
    expect([code, out]).toEqual([1, expect.stringContaining(message)]);
  }
}, 120_000);
