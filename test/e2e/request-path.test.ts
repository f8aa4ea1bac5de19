import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateText, streamText } from 'ai';
import OpenAI, { APIError } from 'openai';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runEdge } from '../../infra/dev/edge.ts';
import { startWorker } from '../../infra/dev/worker.ts';
import { slowSteps } from '../support/slow-steps.ts';
import { MODEL, sseEvents, Stack, until, type SseEvent } from '../support/stack.ts';

const LONG = 200;
/** Of a worker whose streams must be under way when something fails: LONG tokens take 4 seconds at least. */
const STEP_MS = 20;
const messages = [{ role: 'user' as const, content: 'hi' }];
const chat = { model: MODEL, messages, temperature: 0, ignore_eos: true };

let stack: Stack;
beforeAll(async () => {
  // Four slots: more requests than that queue.
  stack = await Stack.start({ flags: ['--max-num-seqs', '4'] });
}, 180_000);
afterAll(async () => {
  await stack[Symbol.asyncDispose]();
});

const openai = (maxRetries = 4) =>
  new OpenAI({ apiKey: stack.edge.apiKey, baseURL: `${stack.edge.url}/v1`, maxRetries });

/** A slow one in its place, which the edge knows of. */
async function replaceWorker(): Promise<void> {
  const { nats, workerLog } = stack;
  await stack.worker[Symbol.asyncDispose]();
  await until(async () => (await stack.get('/health')).status === 503);
  const options = { model: `test/fixtures/${MODEL}`, flags: ['--max-num-seqs', '4'], env: slowSteps(STEP_MS) };
  stack.worker = await startWorker({ nats, ...options, onLine: (line) => workerLog.push(line) });
  await stack.untilServed();
}

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
    // Found in no cache and drafted by nobody, so that the usage is the same in every detail.
    const asked = { ...chat, max_tokens: 20, speculation: 'off' };
    const whole = await openai().chat.completions.create({
      ...asked,
      cache_salt: 'a',
    } as never as OpenAI.ChatCompletionCreateParamsNonStreaming);
    expect(whole.usage).toMatchObject({ prompt_tokens: 21, completion_tokens: 20, total_tokens: 41 });
    expect(whole.choices[0]?.finish_reason).toBe('length');
    const body = { ...asked, cache_salt: 'b', stream: true, stream_options: { include_usage: true } };
    const stream = await openai().chat.completions.create(body as never as OpenAI.ChatCompletionCreateParamsStreaming);
    let text = '';
    let usage: OpenAI.CompletionUsage | null | undefined;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? '';
      // OpenAI's: null until the last chunk.
      expect(usage ?? null).toBeNull();
      expect(chunk.usage).not.toBeUndefined();
      usage = chunk.usage;
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

  test('openai: text completions stream the same text', async () => {
    // Found in no cache and drafted by nobody, so that the usage is the same in every detail.
    const body = { model: MODEL, prompt: 'abc', max_tokens: 12, temperature: 0, speculation: 'off' };
    const whole = await openai().completions.create({ ...body, ...{ cache_salt: 'c' } });
    const streamed = { stream: true as const, stream_options: { include_usage: true } };
    const options = { ...body, ...{ cache_salt: 'd' }, ...streamed };
    let [text, finish] = ['', ''];
    let usage: OpenAI.CompletionUsage | null | undefined;
    for await (const chunk of await openai().completions.create(options)) {
      text += chunk.choices[0]?.text ?? '';
      finish = chunk.choices[0]?.finish_reason ?? finish;
      usage = chunk.usage;
    }
    expect({ text, finish, usage }).toEqual({
      text: whole.choices[0]?.text,
      finish: whole.choices[0]?.finish_reason,
      usage: whole.usage,
    });
  });

  test('raw SSE: without include_usage no chunk has usage; ids count output tokens; [DONE] is last', async () => {
    const response = await stack.post('/v1/chat/completions', { ...chat, max_tokens: 5, stream: true });
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    const events: SseEvent[] = [];
    for await (const event of sseEvents(response)) events.push(event);
    expect(events.pop()?.data).toBe('[DONE]');
    expect(events.at(-1)?.id).toBe(5);
    const chunks = events.map(({ data }) => JSON.parse(data) as { id: string; usage?: object | null });
    for (const chunk of chunks) {
      expect(chunk.id).toBe(response.headers.get('x-millrace-stream-id'));
      expect(chunk).not.toHaveProperty('usage');
    }
  });

  test('a stop string ends the text before it', async () => {
    const ask = async (extra: object) => {
      const response = await stack.post('/v1/chat/completions', { ...chat, max_tokens: 40, ...extra });
      const json = (await response.json()) as { choices: { message: { content: string }; finish_reason: string }[] };
      return { text: json.choices[0]?.message.content ?? '', finish: json.choices[0]?.finish_reason };
    };
    const whole = await ask({});
    const stop = whole.text.slice(8, 11);
    for (const given of [stop, ['never said', stop]]) {
      const text = whole.text.slice(0, whole.text.indexOf(stop));
      expect(await ask({ stop: given })).toEqual({ text, finish: 'stop' });
    }
  });

  test('ignore_eos goes on past the end token', async () => {
    const ask = async (seed: number, ignore_eos: boolean) => {
      const body = { ...chat, temperature: 2, max_tokens: LONG, seed, ignore_eos };
      const response = await stack.post('/v1/chat/completions', body);
      return (await response.json()) as { choices: { finish_reason: string }[]; usage: { completion_tokens: number } };
    };
    const seeds = Array.from({ length: 12 }, (_, seed) => seed);
    const free = await Promise.all(seeds.map((seed) => ask(seed, false)));
    expect(free.map(({ choices }) => choices[0]?.finish_reason)).toContain('stop');
    for (const { usage } of await Promise.all(seeds.map((seed) => ask(seed, true)))) {
      expect(usage.completion_tokens).toBe(LONG);
    }
  });

  test('a request can be followed by its id from the client to the worker', async () => {
    const start = stack.workerLog.length;
    const init = { headers: { ...stack.headers, 'x-request-id': 'follow-me.1' } };
    const response = await stack.post('/v1/chat/completions', { ...chat, max_tokens: 2 }, init);
    expect(response.headers.get('x-request-id')).toBe('follow-me.1');
    const { id } = (await response.json()) as { id: string };
    await until(() => stack.edgeLog.some((line) => line.includes('follow-me.1')));
    const line = stack.edgeLog.find((each) => each.includes('follow-me.1')) ?? '';
    expect(JSON.parse(line)).toMatchObject({ event: 'request', request: 'follow-me.1', stream: id, status: 200 });
    for (const event of ['admitted', 'ended']) {
      const requests = () => stack.workerEvents<{ request: string }>(event, start).map(({ request }) => request);
      await until(() => requests().includes(id));
    }
    const bad = await stack.post(
      '/v1/chat/completions',
      { ...chat, max_tokens: 2 },
      { headers: { ...stack.headers, 'x-request-id': 'no spaces' } },
    );
    expect(bad.headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
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

describe('faults', () => {
  const long = { ...chat, max_tokens: LONG, stream: true, speculation: 'off' };
  beforeAll(replaceWorker);

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
    const body = { ...long, max_tokens: LONG / 2 };
    const reference = await textOf(await stack.post('/v1/chat/completions', body));
    const response = await stack.post('/v1/chat/completions', body);
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
  }, 120_000);

  test('a killed worker: an error inside the stream, never a clean end; then 503; a new worker serves again', async () => {
    const asked = Promise.all(Array.from({ length: 24 }, () => stack.post('/v1/chat/completions', long).then(textOf)));
    await until(async () => (await stack.metric('num_requests_running')) > 0);
    stack.worker.child.kill('SIGKILL');
    const results = await asked;
    const broken = results.filter(({ done }) => !done);
    expect(broken.length).toBeGreaterThan(0);
    // slow_down: its submit was on the way, and nobody can tell a dead worker from a busy one yet.
    for (const { error } of broken) expect(error?.code).toMatch(/worker_lost|no_worker|slow_down/);
    let fastestMs = Infinity;
    for (let i = 0; i < 4; i++) {
      const begin = performance.now();
      const refused = await openai(0)
        .chat.completions.create({ ...chat, max_tokens: 3 } as never as OpenAI.ChatCompletionCreateParamsNonStreaming)
        .catch((error: unknown) => error);
      fastestMs = Math.min(fastestMs, performance.now() - begin);
      expect(refused).toBeInstanceOf(APIError);
      expect((refused as APIError).status).toBe(503);
    }
    // Waited for nobody.
    expect(fastestMs).toBeLessThan(1000);
    expect((await stack.get('/health')).status).toBe(503);
    expect((await stack.get('/live')).status).toBe(200);
    await replaceWorker();
    const served = await stack.post('/v1/chat/completions', { ...chat, max_tokens: 3 });
    expect(await served.json()).toMatchObject({ usage: { completion_tokens: 3 } });
    const health = await stack.get('/health');
    expect(health.status).toBe(200);
    expect(await health.json()).toEqual({ status: 'ready', workers: 1 });
  }, 120_000);

  test('SIGTERM drains: running streams finish, the process exits 0', async () => {
    const running = await stack.post('/v1/chat/completions', { ...long, max_tokens: LONG / 2 });
    stack.worker.child.kill('SIGTERM');
    expect((await textOf(running)).done).toBe(true);
    expect(await stack.worker.child.exited).toBe('code 0');
  }, 120_000);
});
