import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateText, streamText } from 'ai';
import OpenAI, { APIError } from 'openai';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runEdge } from '../../infra/dev/edge.ts';
import { startWorker } from '../../infra/dev/worker.ts';
import { MODEL, sseEvents, Stack, until } from '../support/stack.ts';

const LONG = 200;
const messages = [{ role: 'user' as const, content: 'hi' }];
const chat = { model: MODEL, messages, temperature: 0, ignore_eos: true };

let stack: Stack;
beforeAll(async () => {
  // Four slots: more requests than that queue.
  stack = await Stack.start(['--max-num-seqs', '4']);
}, 180_000);
afterAll(async () => {
  await stack[Symbol.asyncDispose]();
});

const openai = () => new OpenAI({ apiKey: stack.edge.apiKey, baseURL: `${stack.edge.url}/v1`, maxRetries: 0 });
const idle = async () => (await stack.metric('num_requests_running')) === 0;

async function textOf(
  response: Response,
): Promise<{ text: string; done: boolean; error: { code: string } | null; last: number }> {
  let [text, done, last] = ['', false, 0];
  if (!response.ok) {
    const { error } = (await response.json()) as { error: { code: string } };
    return { text, done, error, last };
  }
  let error: { code: string } | null = null;
  for await (const { id, data } of sseEvents(response)) {
    if (data === '[DONE]') done = true;
    else {
      const json = JSON.parse(data) as { error?: { code: string }; choices?: { delta?: { content?: string } }[] };
      error = json.error ?? error;
      text += json.choices?.[0]?.delta?.content ?? '';
      last = id ?? last;
    }
  }
  return { text, done, error, last };
}

describe('clients', () => {
  test('openai: streaming and whole answers are equal, usage is exact', async () => {
    const whole = await openai().chat.completions.create({
      ...chat,
      max_tokens: 20,
    } as never as OpenAI.ChatCompletionCreateParamsNonStreaming);
    expect(whole.usage).toMatchObject({ prompt_tokens: 21, completion_tokens: 20, total_tokens: 41 });
    expect(whole.choices[0]?.finish_reason).toBe('length');
    const body = { ...chat, max_tokens: 20, stream: true, stream_options: { include_usage: true } };
    const stream = await openai().chat.completions.create(body as never as OpenAI.ChatCompletionCreateParamsStreaming);
    let text = '';
    let usage: OpenAI.CompletionUsage | null | undefined;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? '';
      usage = chunk.usage ?? usage;
    }
    expect(text).toBe(whole.choices[0]?.message.content);
    expect(usage).toEqual(whole.usage);
  });

  test('openai: models, text completions, max_completion_tokens, parts, developer role', async () => {
    expect((await openai().models.list()).data.map(({ id }) => id)).toEqual([MODEL]);
    const completion = await openai().completions.create({
      model: MODEL,
      prompt: 'abc',
      max_tokens: 4,
      temperature: 0,
    });
    expect(completion.usage).toMatchObject({ prompt_tokens: 3, completion_tokens: 4 });
    const answer = await openai().chat.completions.create({
      model: MODEL,
      max_completion_tokens: 3,
      messages: [
        { role: 'developer', content: 'x' },
        {
          role: 'user',
          content: [
            { type: 'text', text: 'h' },
            { type: 'text', text: 'i' },
          ],
        },
      ],
    });
    expect(answer.usage?.completion_tokens).toBe(3);
  });

  test('Vercel AI SDK: generateText and streamText', async () => {
    const provider = createOpenAICompatible({
      name: 'millrace',
      apiKey: stack.edge.apiKey,
      baseURL: `${stack.edge.url}/v1`,
      includeUsage: true,
    });
    const options = { model: provider(MODEL), prompt: 'hi', temperature: 0, maxOutputTokens: 12 };
    const whole = await generateText(options);
    const streamed = streamText(options);
    let text = '';
    for await (const part of streamed.textStream) text += part;
    expect(text).toBe(whole.text);
    expect((await streamed.usage).outputTokens).toBe(whole.usage.outputTokens);
  });

  test('the same seed gives the same text, alone and among twenty others', async () => {
    const ask = async (seed: number) => {
      const response = await stack.post('/v1/completions', {
        model: MODEL,
        prompt: 'abc',
        max_tokens: 30,
        temperature: 0.8,
        seed,
        ignore_eos: true,
      });
      return ((await response.json()) as { choices: { text: string }[] }).choices[0]?.text;
    };
    const alone = await ask(5);
    const [batched] = await Promise.all([ask(5), ...Array.from({ length: 20 }, (_, i) => ask(100 + i))]);
    expect(batched).toBe(alone);
    expect(await ask(6)).not.toBe(alone);
  });
});

describe('bad input', () => {
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
    ['tools', { ...chat, tools: [] }, 400, 'unsupported_parameter', 'tools'],
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
    const response = await stack.post('/v1/chat/completions', body);
    const json = (await response.json()) as {
      error: { code: string; param: string | null; message: string; type: string };
    };
    expect({ status: response.status, code: json.error.code, param: json.error.param }).toEqual({
      status,
      code,
      param,
    });
    expect(json.error.message).not.toMatch(/at \w+ \(|node_modules|Error:/);
  });

  test.each([
    ['no key', {}],
    ['a malformed key', { authorization: 'Bearer sk-123' }],
    ['a wrong secret', { authorization: `Bearer mr_${'a'.repeat(12)}_${'B'.repeat(48)}` }],
  ])('%s is refused, on every route but the open ones', async (_, headers) => {
    for (const path of ['/v1/models', '/v1/nothing', '/v1/streams/chatcmpl-s0-000000000000000000000000']) {
      const response = await fetch(`${stack.edge.url}${path}`, { headers });
      expect(response.status).toBe(401);
      expect(await response.json()).toMatchObject({ error: { code: 'invalid_api_key' } });
    }
    expect((await fetch(`${stack.edge.url}/live`)).status).toBe(200);
  });

  test('nothing of it reached the engine', async () => {
    const admitted = stack.workerLog.length;
    await stack.post('/v1/chat/completions', { ...chat, temperature: 99 });
    expect(stack.workerLog.length).toBe(admitted);
    expect(await idle()).toBe(true);
  });
});

describe('cancel frees the worker', () => {
  interface Ended {
    readonly event: string;
    readonly code?: string;
    readonly completionTokens: number;
  }
  const endedSince = (start: number) =>
    stack.workerLog
      .slice(start)
      .map((line) => JSON.parse(line) as Ended)
      .filter(({ event }) => event === 'ended');

  test('clients that leave in mid-stream', async () => {
    const start = stack.workerLog.length;
    // Many, since each lasts only a fifth of a second: some are sure to be cut off.
    const clients = Array.from({ length: 24 }, async () => {
      const abort = new AbortController();
      const body = { ...chat, max_tokens: LONG, stream: true };
      await stack.post('/v1/chat/completions', body, { signal: abort.signal });
      abort.abort();
    });
    await Promise.all(clients);
    await until(async () => (await idle()) && endedSince(start).length === clients.length);
    const cancelled = endedSince(start).filter(({ code }) => code === 'request_cancelled');
    expect(cancelled.length).toBeGreaterThan(0);
    for (const { completionTokens } of cancelled) expect(completionTokens).toBeLessThan(LONG);
    expect(await stack.metric('kv_cache_usage_perc')).toBe(0);
  });

  test('stop is its own endpoint and ends the stream well', async () => {
    const response = await stack.post('/v1/chat/completions', { ...chat, max_tokens: LONG, stream: true });
    const id = response.headers.get('x-millrace-stream-id');
    const stopped = await stack.post(`/v1/streams/${id}/stop`, {});
    expect(stopped.status).toBe(200);
    expect((await textOf(response)).done).toBe(true);
    await until(idle);
  });
});

describe('faults', () => {
  test('a finished stream can be read again from any offset, by its tenant only', async () => {
    const response = await stack.post('/v1/chat/completions', { ...chat, max_tokens: 30, stream: true });
    const id = response.headers.get('x-millrace-stream-id');
    const whole = await textOf(response);
    const again = await textOf(await stack.get(`/v1/streams/${id}?offset=0`));
    expect(again).toEqual(whole);
    const rest = await textOf(await stack.get(`/v1/streams/${id}?offset=${whole.last - 5}`));
    expect(whole.text.endsWith(rest.text)).toBe(true);
    expect(rest.text.length).toBeLessThan(whole.text.length);
  });

  test('workerd killed in mid-stream: the client comes back with its stream id and gets the rest', async () => {
    const reference = await textOf(
      await stack.post('/v1/chat/completions', { ...chat, max_tokens: LONG, stream: true }),
    );
    const response = await stack.post('/v1/chat/completions', { ...chat, max_tokens: LONG, stream: true });
    const id = response.headers.get('x-millrace-stream-id');
    let [text, last] = ['', 0];
    try {
      for await (const event of sseEvents(response)) {
        const json = JSON.parse(event.data) as { choices: { delta: { content?: string } }[] };
        text += json.choices[0]?.delta.content ?? '';
        last = event.id ?? last;
        if (last >= 3) stack.edge.child.kill('SIGKILL');
      }
    } catch {
      // The connection breaks: that is the point.
    }
    await stack.edge.child.exited;
    stack.edge = await runEdge(stack.edge.state, (line) => stack.edgeLog.push(line));
    const rest = await textOf(await stack.get(`/v1/streams/${id}?offset=${last}`));
    expect(text + rest.text).toBe(reference.text);
    expect(rest.done).toBe(true);
  });

  test('a killed worker: an error inside the stream, never a clean end; then 503; a new worker serves again', async () => {
    const asked = Promise.all(
      Array.from({ length: 24 }, () =>
        stack.post('/v1/chat/completions', { ...chat, max_tokens: LONG, stream: true }).then(textOf),
      ),
    );
    await until(async () => (await stack.metric('num_requests_running')) > 0);
    stack.worker.child.kill('SIGKILL');
    const results = await asked;
    const broken = results.filter(({ done }) => !done);
    expect(broken.length).toBeGreaterThan(0);
    for (const { error } of broken) expect(error?.code).toMatch(/worker_lost|no_worker/);
    const begin = Date.now();
    const refused = await openai()
      .chat.completions.create({ ...chat, max_tokens: 3 } as never as OpenAI.ChatCompletionCreateParamsNonStreaming)
      .catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(APIError);
    expect((refused as APIError).status).toBe(503);
    expect(Date.now() - begin).toBeLessThan(2000);
    stack.worker = await startWorker({
      nats: stack.nats,
      model: `test/fixtures/${MODEL}`,
      onLine: (line) => stack.workerLog.push(line),
    });
    const served = await stack.post('/v1/chat/completions', { ...chat, max_tokens: 3 });
    expect(await served.json()).toMatchObject({ usage: { completion_tokens: 3 } });
  });

  test('SIGTERM drains: running streams finish, the process exits 0', async () => {
    const running = await stack.post('/v1/chat/completions', { ...chat, max_tokens: LONG, stream: true });
    stack.worker.child.kill('SIGTERM');
    expect((await textOf(running)).done).toBe(true);
    expect(await stack.worker.child.exited).toBe('code 0');
  });
});
