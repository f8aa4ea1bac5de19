/** What a client can get wrong: key, method, route, body. Each is refused by name in OpenAI's shape, and no worker hears of it. */
import { readdirSync } from 'node:fs';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { mintKey, type MintedKey } from '../../edge/key.ts';
import type { SeededKey } from '../../infra/dev/edge.ts';
import { MODEL, Stack, until } from '../support/stack.ts';

const ALIAS = 'alias/of-it';
const messages = [{ role: 'user' as const, content: 'hi' }];
const chat = { model: MODEL, messages, temperature: 0, ignore_eos: true, max_tokens: 2 };

interface Refusal {
  readonly error: {
    readonly code: string;
    readonly param: string | null;
    readonly message: string;
    readonly type: string;
  };
}

/** Keys of the table by what is special about them. */
const keys: Record<string, MintedKey> = {};

async function mintKeys(pepper: string): Promise<readonly SeededKey[]> {
  const names = [
    'disabled',
    'expired',
    'not yet expired',
    'rotated',
    'rotated, second secret',
    'alias only',
    'odd tenant',
  ];
  for (const name of names) keys[name] = await mintKey(pepper);
  const row = (name: string, extra: Partial<SeededKey> = {}) => {
    const { publicId = '', secretHash = '' } = keys[name] ?? {};
    return { publicId, secretHash, tenant: 'other', ...extra };
  };
  return [
    row('disabled', { disabled: true }),
    row('expired', { expiresAt: Date.now() - 1 }),
    row('not yet expired', { expiresAt: Date.now() + 3_600_000 }),
    row('rotated', { secondSecretHash: row('rotated, second secret').secretHash }),
    row('alias only', { models: [ALIAS] }),
    row('odd tenant', { tenant: 'acme.com' }),
  ];
}

let stack: Stack;
beforeAll(async () => {
  stack = await Stack.start({ flags: ['--served-model-name', `${MODEL},${ALIAS}`], edge: { keys: mintKeys } });
}, 180_000);
afterAll(async () => {
  await stack[Symbol.asyncDispose]();
});

const keyOf = (name: string) => keys[name]?.key ?? '';
const call = (path: string, key: string, init: RequestInit = {}) =>
  stack.get(path, { headers: { ...stack.headers, authorization: `Bearer ${key}` }, ...init });

describe('keys', () => {
  /** [what is wrong, the key sent]. */
  const wrong: readonly (readonly [string, () => string])[] = [
    ['disabled', () => keyOf('disabled')],
    ['expired', () => keyOf('expired')],
    ['unknown id', () => `mr_${'a'.repeat(12)}_${'B'.repeat(48)}`],
    ['malformed', () => 'sk-123'],
    ['wrong secret', () => `${keyOf('rotated').slice(0, 16)}${'B'.repeat(48)}`],
    ['secret of another key', () => `${keyOf('rotated').slice(0, 16)}${stack.edge.apiKey.slice(16)}`],
    ['id of the second secret', () => keyOf('rotated, second secret')],
  ];

  test.each(wrong)('%s: 401 on every route but the open ones, in the same words', async (_, key) => {
    for (const path of ['/v1/models', '/v1/nothing', '/v1/streams/chatcmpl-s0-000000000000000000000000']) {
      const response = await call(path, key());
      expect(response.status).toBe(401);
      const error = { message: 'Incorrect API key provided.', type: 'invalid_request_error', param: null };
      expect(await response.json()).toEqual({ error: { ...error, code: 'invalid_api_key' } });
    }
  });

  test('no key: 401, with how to send one; probes need none', async () => {
    const response = await fetch(`${stack.edge.url}/v1/models`);
    expect(response.status).toBe(401);
    const { error } = (await response.json()) as Refusal;
    expect(error).toMatchObject({ code: 'invalid_api_key', message: expect.stringContaining('Authorization: Bearer') });
    for (const path of ['/live', '/health', '/']) expect((await fetch(`${stack.edge.url}${path}`)).status).toBe(200);
  });

  test('a key before its expiry, and either secret of a rotated one', async () => {
    const { publicId } = keys['rotated'] ?? {};
    const second = `mr_${publicId}_${keyOf('rotated, second secret').slice(16)}`;
    for (const key of [keyOf('not yet expired'), keyOf('rotated'), second]) {
      expect((await call('/v1/models', key)).status).toBe(200);
    }
  });

  test('a key with a list of models sees and uses only those, aliases by name', async () => {
    const key = keyOf('alias only');
    const list = (await (await call('/v1/models', key)).json()) as { data: { id: string }[] };
    expect(list.data.map(({ id }) => id)).toEqual([ALIAS]);
    expect((await call(`/v1/models/${ALIAS}`, key)).status).toBe(200);
    const hidden = await call(`/v1/models/${MODEL}`, key);
    expect(hidden.status).toBe(404);
    expect(((await hidden.json()) as Refusal).error).toMatchObject({
      ...{ code: 'model_not_found', param: 'model' },
      message: `The model \`${MODEL}\` does not exist; GET /v1/models lists those that do.`,
    });
    const ask = (model: string) =>
      call('/v1/chat/completions', key, { method: 'POST', body: JSON.stringify({ ...chat, model }) });
    expect(await (await ask(ALIAS)).json()).toMatchObject({ model: ALIAS, usage: { completion_tokens: 2 } });
    const refused = await ask(MODEL);
    expect(refused.status).toBe(403);
    expect(await refused.json()).toMatchObject({ error: { code: 'permission_denied', param: 'model' } });
  });

  test('a key of a tenant that cannot be: the log says why, the client hears no internals', async () => {
    const response = await call('/v1/models', keyOf('odd tenant'));
    expect(response.status).toBe(500);
    const message = 'This API key is not set up well: ask who gave it to you.';
    expect(await response.json()).toMatchObject({ error: { code: 'server_error', message } });
    await until(() => stack.edgeLog.some((line) => line.includes('acme.com') && line.includes('must match')));
  });

  test('a stream of another tenant is not there', async () => {
    const response = await stack.post('/v1/chat/completions', { ...chat, stream: true });
    await response.text();
    const path = `/v1/streams/${response.headers.get('x-millrace-stream-id')}`;
    expect((await stack.get(path)).status).toBe(200);
    expect((await call(path, keyOf('rotated'))).status).toBe(404);
    expect((await call(`${path}/stop`, keyOf('rotated'), { method: 'POST' })).status).toBe(404);
  });
});

describe('methods and routes', () => {
  test.each([
    ['/v1/chat/completions', 'GET', 'POST'],
    ['/v1/completions', 'DELETE', 'POST'],
    ['/v1/models', 'POST', 'GET, HEAD'],
    [`/v1/models/${MODEL}`, 'DELETE', 'GET, HEAD'],
    [`/v1/models/${ALIAS}`, 'POST', 'GET, HEAD'],
    ['/v1/streams/chatcmpl-s0-000000000000000000000000', 'POST', 'GET'],
    ['/v1/streams/chatcmpl-s0-000000000000000000000000/stop', 'GET', 'POST'],
    ['/live', 'POST', 'GET, HEAD'],
    ['/health', 'PUT', 'GET, HEAD'],
  ])('%s does not take %s', async (path, method, allow) => {
    const response = await call(path, stack.edge.apiKey, { method });
    expect(response.status).toBe(405);
    expect(response.headers.get('allow')).toBe(allow);
    const { error } = (await response.json()) as Refusal;
    expect(error).toMatchObject({ code: 'method_not_allowed', type: 'invalid_request_error' });
    expect(error.message).toContain(allow);
  });

  test('HEAD of a stream takes it from nobody', async () => {
    const response = await call('/v1/streams/chatcmpl-s0-000000000000000000000000', stack.edge.apiKey, {
      method: 'HEAD',
    });
    expect([response.status, response.headers.get('allow')]).toEqual([405, 'GET']);
  });

  test('a stream of a shard that is not there opens nothing', async () => {
    const objects = () => readdirSync(stack.edge.state.folder, { recursive: true }).filter(isSqlite).length;
    const isSqlite = (path: string | Buffer) => String(path).endsWith('.sqlite');
    const before = objects();
    for (const shard of ['s00', 's1', 's77', 's9999']) {
      const path = `/v1/streams/chatcmpl-${shard}-000000000000000000000000`;
      for (const response of [await stack.get(path), await stack.post(`${path}/stop`, {})]) {
        expect(response.status).toBe(404);
        expect(await response.json()).toMatchObject({ error: { code: 'stream_not_found' } });
      }
    }
    expect(objects()).toBe(before);
  });

  test.each(['Continue', 'nope', ''])('what is to happen on disconnect: "%s" is refused', async (wish) => {
    const headers = { ...stack.headers, 'x-millrace-on-disconnect': wish };
    const response = await stack.post('/v1/chat/completions', chat, { headers });
    expect(response.status).toBe(400);
    const error = { code: 'invalid_value', param: 'x-millrace-on-disconnect' };
    expect(await response.json()).toMatchObject({ error });
  });

  test('a body whose chunks are malformed is the client’s fault', async () => {
    const { hostname, port } = new URL(stack.edge.url);
    const socket = connect(Number(port), hostname);
    const head = `POST /v1/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${stack.edge.apiKey}\r\n`;
    socket.write(`${head}connection: close\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n`);
    const answer = await socket.setEncoding('utf8').reduce((all: string, part: string) => all + part, '');
    expect(answer).toMatch(/^HTTP\/1\.1 400 [^]*"code":"invalid_json"/);
  });

  test('a route that does not exist is 404 whatever the method', async () => {
    for (const method of ['GET', 'POST']) {
      const response = await call('/v1/nothing', stack.edge.apiKey, { method });
      expect(response.status).toBe(404);
      expect(response.headers.get('allow')).toBeNull();
      expect(await response.json()).toMatchObject({ error: { code: 'not_found' } });
    }
  });
});

describe('pages of other origins', () => {
  const origin = 'https://page.example';
  const url = () => `${stack.edge.url}/v1/chat/completions`;

  test('may send the headers that SDKs send, and no others', async () => {
    const asked = 'authorization, content-type, x-stainless-lang, x-other';
    const headers = { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': asked };
    const response = await fetch(url(), { method: 'OPTIONS', headers });
    expect(response.status).toBe(204);
    const allowed = response.headers.get('access-control-allow-headers')?.split(',') ?? [];
    expect(allowed).toEqual(expect.arrayContaining(['authorization', 'content-type', 'x-stainless-lang']));
    expect(allowed).not.toContain('x-other');
  });

  test('may read every header of ours', async () => {
    const headers = { ...stack.headers, origin };
    const response = await fetch(url(), { method: 'POST', headers, body: JSON.stringify(chat) });
    expect(response.status).toBe(200);
    const exposed = response.headers.get('access-control-expose-headers')?.split(',') ?? [];
    const ours = [...response.headers.keys()].filter((name) => /^x-(millrace-|request-id)/.test(name));
    expect(ours).toContain('x-millrace-decode-ms');
    expect(exposed).toEqual(expect.arrayContaining(ours));
  });
});

/** Of both endpoints; the field named is the one given. */
const both = (...extras: readonly object[]) =>
  extras.flatMap((extra) => {
    const [param = ''] = Object.keys(extra);
    return [['chat', extra, param] as const, ['text', extra, param] as const];
  });

/** The worker's counters of refused requests. */
async function rejections(): Promise<readonly string[]> {
  const text = await (await fetch(`${stack.worker.url}/metrics`)).text();
  return text.split('\n').filter((line) => line.includes('admission_rejections_total{'));
}

describe('bad input', () => {
  // The log comes by a way of its own: once the end of this one is heard, so is everything before.
  beforeAll(async () => {
    const { id } = (await (await stack.post('/v1/chat/completions', chat)).json()) as { readonly id: string };
    await until(() => stack.workerEvents<{ request: string }>('ended').some(({ request }) => request === id));
  });

  const cases: readonly (readonly [string, unknown, number, string, string | null])[] = [
    ['not JSON', '{', 400, 'invalid_json', null],
    ['not an object', '[]', 400, 'invalid_json', null],
    ['too deep', `${'['.repeat(100)}${']'.repeat(100)}`, 400, 'invalid_json', null],
    ['no model', { messages }, 400, 'missing_required_parameter', 'model'],
    ['no messages', { model: MODEL }, 400, 'missing_required_parameter', 'messages'],
    ['empty messages', { model: MODEL, messages: [] }, 400, 'invalid_value', 'messages'],
    [
      'wrong content',
      { model: MODEL, messages: [{ role: 'user', content: 7 }] },
      400,
      'invalid_value',
      'messages[0].content',
    ],
    [
      'wrong role',
      { model: MODEL, messages: [{ role: 'robot', content: '' }] },
      400,
      'invalid_value',
      'messages[0].role',
    ],
    ['unknown model', { ...chat, model: 'nope' }, 404, 'model_not_found', 'model'],
    ['temperature', { ...chat, temperature: 1e308 }, 400, 'invalid_value', 'temperature'],
    ['max_tokens 0', { ...chat, max_tokens: 0 }, 400, 'invalid_value', 'max_tokens'],
    ['max_tokens text', { ...chat, max_tokens: '5' }, 400, 'invalid_value', 'max_tokens'],
    ['max_tokens beyond the context', { ...chat, max_tokens: 5000 }, 400, 'context_length_exceeded', 'messages'],
    ['n', { ...chat, n: 1_000_000 }, 400, 'invalid_value', 'n'],
    ['tools', { ...chat, tools: [{}] }, 400, 'unsupported_parameter', 'tools'],
    [
      'response_format',
      { ...chat, response_format: { type: 'json_object' } },
      400,
      'invalid_value',
      'response_format.type',
    ],
    ['unknown parameter', { ...chat, bogus: 1 }, 400, 'unsupported_parameter', 'bogus'],
    ['many stops', { ...chat, stop: Array.from({ length: 99 }, () => 'x') }, 400, 'invalid_value', 'stop'],
    [
      'prompt over the context',
      { model: MODEL, messages: [{ role: 'user', content: 'x'.repeat(5000) }] },
      400,
      'context_length_exceeded',
      'messages',
    ],
    [
      'body too large',
      { model: MODEL, messages: [{ role: 'user', content: 'x'.repeat(2_000_000) }] },
      413,
      'request_too_large',
      null,
    ],
  ];

  test.each(cases)('%s', async (_, body, status, code, param) => {
    const start = stack.workerLog.length;
    const response = await stack.post('/v1/chat/completions', body);
    const { error } = (await response.json()) as Refusal;
    expect({ status: response.status, code: error.code, param: error.param }).toEqual({ status, code, param });
    expect(error.type).toBe('invalid_request_error');
    expect(error.message).not.toMatch(/at \w+ \(|node_modules|Error:/);
    expect(stack.workerEvents('admitted', start)).toEqual([]);
    expect(await stack.metric('num_requests_running')).toBe(0);
  });

  /** [endpoint, what is wrong, the field named]. */
  const outOfRange: readonly (readonly ['chat' | 'text', object, string])[] = [
    ...both({ temperature: 2.01 }, { temperature: -1 }, { top_p: 1.01 }, { top_k: -2 }, { min_p: 1.1 }),
    ...both({ repetition_penalty: 0 }, { frequency_penalty: 2.5 }, { presence_penalty: -2.5 }),
    ...both({ logit_bias: { 5: 101 } }, { logit_bias: { x: 1 } }, { n: 0 }, { n: 65 }, { seed: 0.5 }),
    ...both({ min_tokens: 3 }, { min_tokens: -1 }, { stop_token_ids: 'x' }, { ignore_eos: 1 }),
    ...both({ speculation: 'yes' }, { cache_salt: 'x'.repeat(257) }, { best_of: 2 }, { tool_choice: 'required' }),
    ...both({ guided_json: {} }, { structured_outputs: {} }, { prompt_logprobs: 1 }),
    ['chat', { logprobs: 5 }, 'logprobs'],
    ['chat', { top_logprobs: 5 }, 'top_logprobs'],
    ['chat', { logprobs: true, top_logprobs: 21 }, 'top_logprobs'],
    ['chat', { enable_thinking: 'no' }, 'enable_thinking'],
    ['chat', { reasoning_effort: 'some' }, 'reasoning_effort'],
    ['chat', { chat_template_kwargs: { a: {} } }, 'chat_template_kwargs.a'],
    ['text', { logprobs: 21 }, 'logprobs'],
    ['text', { suffix: 'x' }, 'suffix'],
    ['text', { echo: true }, 'echo'],
  ];

  test('every parameter out of range is refused by name, and no worker hears of it', async () => {
    const start = stack.workerLog.length;
    const heard = await rejections();
    for (const [kind, extra, param] of outOfRange) {
      const { messages: given, ...rest } = chat;
      const body = kind === 'chat' ? { ...rest, messages: given, ...extra } : { ...rest, prompt: 'hi', ...extra };
      const response = await stack.post(kind === 'chat' ? '/v1/chat/completions' : '/v1/completions', body);
      const { error } = (await response.json()) as Refusal;
      expect({ extra, status: response.status, param: error.param }).toEqual({ extra, status: 400, param });
      expect(error.message).toContain(`\`${param}\``);
    }
    expect(stack.workerEvents('admitted', start)).toEqual([]);
    expect(await rejections()).toEqual(heard);
  });

  test('what only a worker can know, it refuses by name too', async () => {
    const cases = [
      [{ logit_bias: { 512: 1 } }, 'logit_bias'],
      [{ stop_token_ids: [512] }, 'stop_token_ids'],
    ] as const;
    for (const [extra, param] of cases) {
      const response = await stack.post('/v1/chat/completions', { ...chat, ...extra });
      expect(await response.json()).toMatchObject({ error: { code: 'invalid_value', param } });
    }
  });

  test('a body of unknown length is cut off at the limit too', async () => {
    const pieces = Array.from({ length: 32 }, () => new TextEncoder().encode('x'.repeat(65_536)));
    const init = { method: 'POST', body: ReadableStream.from(pieces), duplex: 'half' as const };
    const response = await call('/v1/completions', stack.edge.apiKey, init);
    expect(response.status).toBe(413);
    expect(await response.json()).toMatchObject({ error: { code: 'request_too_large' } });
  });
});
