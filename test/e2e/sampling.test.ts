/** The sampling API on real parts: choices, log probabilities, penalties, biases, speculation and the prefix cache, as clients see them. */
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MODEL, Stack } from '../support/stack.ts';

/** Greedily it repeats the byte 30; the model is random, and a token id below 256 is a byte. */
const PROMPT = [388, 363];
const REPEATED = 30;
const common = {
  ...{ model: MODEL, prompt: PROMPT, temperature: 0, ignore_eos: true, max_tokens: 6 },
  // Drafts change the shape of a step and so the last digits of its figures.
  speculation: 'off',
};
const idOf = (letter: string) => letter.charCodeAt(0);
/** A bias that leaves the model these letters alone to choose from. */
const letters = (text: string) => Object.fromEntries(Array.from(text, (letter) => [idOf(letter), 20]));

interface TextLogprobs {
  readonly tokens: readonly string[];
  readonly token_logprobs: readonly number[];
  readonly top_logprobs: readonly Readonly<Record<string, number>>[];
  readonly text_offset: readonly number[];
}

interface Choice {
  readonly index: number;
  readonly text: string;
  readonly finish_reason: string | null;
  readonly logprobs: TextLogprobs | null;
}

interface Answer {
  readonly choices: readonly Choice[];
  readonly usage: {
    readonly completion_tokens: number;
    readonly prompt_tokens_details: { readonly cached_tokens: number };
    readonly completion_tokens_details: {
      readonly accepted_prediction_tokens: number;
      readonly rejected_prediction_tokens: number;
    };
  };
}

let stack: Stack;
beforeAll(async () => {
  stack = await Stack.start();
}, 180_000);
afterAll(async () => {
  await stack[Symbol.asyncDispose]();
});

const openai = () => new OpenAI({ apiKey: stack.edge.apiKey, baseURL: `${stack.edge.url}/v1`, maxRetries: 4 });

async function ask(body: object): Promise<Answer> {
  const response = await stack.post('/v1/completions', { ...common, ...body });
  expect(response.status).toBe(200);
  return (await response.json()) as Answer;
}

type Token = OpenAI.ChatCompletionTokenLogprob;

/** Equal up to float32 rounding. */
function close({ top_logprobs, ...drawn }: Token): object {
  const near = <T extends { readonly logprob: number }>(token: T) => ({
    ...token,
    logprob: expect.closeTo(token.logprob, 4),
  });
  return { ...near(drawn), top_logprobs: top_logprobs.map(near) };
}

const textsOf = ({ choices }: Answer) => choices.map(({ text }) => text);

interface SseEvent {
  readonly id: string;
  readonly choice: Choice | undefined;
}

/** Events but the last, which must be [DONE]. */
async function events(response: Response): Promise<readonly SseEvent[]> {
  const blocks = (await response.text()).split('\n\n').filter((block) => block.includes('data: '));
  expect(blocks.pop()).toBe('data: [DONE]');
  return blocks.map((block) => {
    const [, id = '', data = ''] = /^id: (.*)\ndata: (.*)$/.exec(block) ?? [];
    return { id, choice: (JSON.parse(data) as { choices: Choice[] }).choices[0] };
  });
}

/** [choices]: their chunks put together. */
function joined(all: readonly SseEvent[], n: number): readonly Choice[] {
  return Array.from({ length: n }, (_, index) => {
    const chunks = all.flatMap(({ choice }) => (choice?.index === index ? [choice] : []));
    const logprobs = chunks.flatMap((chunk) => chunk.logprobs ?? []);
    return {
      index,
      text: chunks.map(({ text }) => text).join(''),
      finish_reason: chunks.findLast(({ finish_reason }) => finish_reason !== null)?.finish_reason ?? null,
      logprobs:
        logprobs.length === 0
          ? null
          : {
              tokens: logprobs.flatMap(({ tokens }) => tokens),
              token_logprobs: logprobs.flatMap(({ token_logprobs }) => token_logprobs),
              top_logprobs: logprobs.flatMap(({ top_logprobs }) => top_logprobs),
              text_offset: logprobs.flatMap(({ text_offset }) => text_offset),
            },
    };
  });
}

const stream = (body: object) => stack.post('/v1/completions', { ...common, ...body, stream: true });

describe('choices', () => {
  const three = { n: 3, seed: 5, temperature: 1, max_tokens: 24, logit_bias: letters('abcdefgh') };

  test('n = 3: in order, each of its own noise, the first as if alone; streamed the same', async () => {
    const whole = await ask(three);
    expect(whole.choices.map(({ index, finish_reason }) => [index, finish_reason])).toEqual([
      [0, 'length'],
      [1, 'length'],
      [2, 'length'],
    ]);
    expect(new Set(textsOf(whole)).size).toBe(3);
    expect(whole.usage.completion_tokens).toBe(72);
    expect(textsOf(await ask({ ...three, n: 1 }))).toEqual(textsOf(whole).slice(0, 1));
    expect(textsOf(await ask({ ...three, n: 2 }))).toEqual(textsOf(whole).slice(0, 2));
    const streamed = await events(await stream(three));
    expect(joined(streamed, 3)).toEqual(whole.choices);
    expect(streamed.at(-1)?.id).toBe('24.24.24');
  });

  test('greedy choices are all the same', async () => {
    const [one] = textsOf(await ask({}));
    expect(textsOf(await ask({ n: 3 }))).toEqual([one, one, one]);
  });

  test('a stream of three is resumed from any of its events: each choice goes on where it was', async () => {
    const response = await stream(three);
    const id = response.headers.get('x-millrace-stream-id');
    const all = await events(response);
    const whole = joined(all, 3);
    const middle = Math.floor(all.length / 2);
    for (const at of [0, 1, middle, all.length - 1]) {
      const had = all.slice(0, at + 1);
      const headers = { ...stack.headers, 'last-event-id': had.at(-1)?.id ?? '' };
      const resumed = await stack.get(`/v1/streams/${id}`, { headers });
      const rest = await events(resumed);
      expect(rest.at(-1)?.id).toBe('24.24.24');
      expect(joined([...had, ...rest], 3)).toEqual(whole);
    }
    for (const start of ['', '?offset=0', '?offset=0.0.0']) {
      expect(joined(await events(await stack.get(`/v1/streams/${id}${start}`)), 3)).toEqual(whole);
    }
    // However few events the stream came in: each token is one letter.
    const rest = joined(await events(await stack.get(`/v1/streams/${id}?offset=3.20.24`)), 3);
    expect(rest.map(({ text }) => text)).toEqual([3, 20, 24].map((at, i) => whole[i]?.text.slice(at)));
  });

  test.each(['7', '1.2', '1.2.3.4', '1.2.', 'a', '-1'])('offset %s of a stream of three is refused', async (offset) => {
    const response = await stream(three);
    await response.text();
    const refused = await stack.get(`/v1/streams/${response.headers.get('x-millrace-stream-id')}?offset=${offset}`);
    expect(refused.status).toBe(400);
    expect(await refused.json()).toMatchObject({ error: { code: 'invalid_value', param: 'offset' } });
  });

  test('openai: n and logprobs of a chat, whole and streamed', async () => {
    const body = {
      ...{ model: MODEL, messages: [{ role: 'user' as const, content: 'hi' }], max_tokens: 8 },
      ...{ n: 2, seed: 1, temperature: 1, logprobs: true, top_logprobs: 4 },
    };
    const whole = await openai().chat.completions.create(body);
    expect(whole.choices.map(({ index }) => index)).toEqual([0, 1]);
    const runner = openai().chat.completions.stream(body);
    const { choices } = await runner.finalChatCompletion();
    for (const [i, { message, logprobs, finish_reason }] of whole.choices.entries()) {
      expect(logprobs?.content?.length).toBeGreaterThan(0);
      for (const { token, bytes, top_logprobs } of logprobs?.content ?? []) {
        expect(top_logprobs).toHaveLength(4);
        expect(token).toBe(new TextDecoder().decode(Uint8Array.from(bytes ?? [])));
      }
      expect(choices[i]?.message.content).toBe(message.content);
      expect(choices[i]?.finish_reason).toBe(finish_reason);
      // The second prompt is found in the prefix cache: sums are the same but for their order.
      expect(choices[i]?.logprobs?.content).toEqual(logprobs?.content?.map(close));
    }
  });
});

describe('log probabilities', () => {
  test('of a text: those of the greedy tokens are the top ones; streamed the same; not asked for, not there', async () => {
    const body = { logprobs: 20, max_tokens: 30 };
    const { choices } = await ask(body);
    const logprobs = choices[0]?.logprobs;
    expect(logprobs?.tokens).toHaveLength(30);
    for (const [i, top] of (logprobs?.top_logprobs ?? []).entries()) {
      const values = Object.values(top);
      expect(logprobs?.token_logprobs[i]).toBe(Math.max(...values));
      expect(top[logprobs?.tokens[i] ?? '']).toBe(logprobs?.token_logprobs[i]);
      expect(values.reduce((sum, value) => sum + Math.exp(value), 0)).toBeLessThanOrEqual(1);
    }
    expect(joined(await events(await stream(body)), 1)).toEqual(choices);
    expect((await ask({})).choices[0]?.logprobs).toBeNull();
  });

  test('text offsets say where each token begins in the text', async () => {
    const { choices } = await ask({ logprobs: 0, logit_bias: letters('xyz'), temperature: 1, seed: 2, n: 2 });
    for (const { text, logprobs } of choices) {
      expect(logprobs?.tokens.map((token, i) => text.startsWith(token, logprobs.text_offset[i]))).not.toContain(false);
      expect(logprobs?.text_offset).toEqual([0, 1, 2, 3, 4, 5]);
      expect(logprobs?.tokens.join('')).toBe(text);
    }
  });

  test('each is that of its token after all before it, and the sum is the text’s', async () => {
    const { choices } = await ask({ logprobs: 0 });
    const all = choices[0]?.logprobs?.token_logprobs ?? [];
    let sum = 0;
    for (const i of all.keys()) {
      const prompt = [...PROMPT, ...Array.from({ length: i }, () => REPEATED)];
      const next = await ask({ prompt, logprobs: 0, max_tokens: 1, cache_salt: `alone${i}` });
      sum += next.choices[0]?.logprobs?.token_logprobs[0] ?? 0;
    }
    expect(sum).toBeCloseTo(
      all.reduce((total, value) => total + value, 0),
      3,
    );
  });

  test('of a stopped text: one for each token of the usage', async () => {
    const { choices, usage } = await ask({ logprobs: 1, stop: String.fromCharCode(REPEATED).repeat(3) });
    expect(choices[0]).toMatchObject({ text: '', finish_reason: 'stop' });
    expect(choices[0]?.logprobs?.tokens).toHaveLength(usage.completion_tokens);
  });
});

describe('what changes the draw', () => {
  const repeated = String.fromCharCode(REPEATED).repeat(6);

  test('logit_bias: 100 forces a token, -100 bans it', async () => {
    expect(textsOf(await ask({}))).toEqual([repeated]);
    const forced = await ask({ logit_bias: { [idOf('Q')]: 100 }, logprobs: 0 });
    expect(textsOf(forced)).toEqual(['QQQQQQ']);
    // Log probabilities are the model's own, whatever changed the draw.
    expect(Math.max(...(forced.choices[0]?.logprobs?.token_logprobs ?? [0]))).toBeLessThan(-2);
    expect(textsOf(await ask({ logit_bias: { [REPEATED]: -100 } }))[0]).not.toContain(String.fromCharCode(REPEATED));
  });

  test.each([[{ frequency_penalty: 2 }], [{ presence_penalty: 2 }], [{ repetition_penalty: 10 }]])(
    '%j ends a repetition',
    async (penalty) => {
      const [text = ''] = textsOf(await ask(penalty));
      expect(text.startsWith(repeated.slice(0, 1))).toBe(true);
      expect(text).not.toContain(repeated.slice(0, 2));
    },
  );

  test('a frequency penalty grows with each occurrence, a presence penalty does not', async () => {
    // The two letters are 1.5 apart at first, so the third occurrence of one at 1 each lets the other pass.
    const body = { max_tokens: 12, logit_bias: { [idOf('a')]: 60, [idOf('b')]: 52 } };
    expect(textsOf(await ask({ ...body, presence_penalty: 1 }))).toEqual(['a'.repeat(12)]);
    expect(textsOf(await ask({ ...body, frequency_penalty: 2 }))[0]).toMatch(/^a{3,11}b/);
    expect(textsOf(await ask({ ...body, frequency_penalty: -2 }))).toEqual(['a'.repeat(12)]);
  });

  test('min_tokens keeps the end away, be it the model’s or a stop id', async () => {
    const end = { ignore_eos: false, max_tokens: 12, logit_bias: { 1: 100 } };
    const stop = { max_tokens: 12, logit_bias: { [idOf('Q')]: 100 }, stop_token_ids: [idOf('Q')] };
    for (const body of [end, stop]) {
      expect(await ask(body)).toMatchObject({ choices: [{ finish_reason: 'stop' }], usage: { completion_tokens: 1 } });
      const later = await ask({ ...body, min_tokens: 7 });
      expect(later).toMatchObject({ choices: [{ finish_reason: 'stop' }], usage: { completion_tokens: 8 } });
    }
  });

  test('top_k, top_p and min_p narrow the draw to the likeliest', async () => {
    for (const narrow of [{ top_k: 1 }, { top_p: 0 }, { min_p: 1 }]) {
      expect(textsOf(await ask({ temperature: 2, seed: 3, ...narrow }))).toEqual([repeated]);
    }
    expect(textsOf(await ask({ temperature: 2, seed: 3, top_k: -1 }))).not.toEqual([repeated]);
  });

  test('enable_thinking, reasoning_effort and chat_template_kwargs reach the template, which may not know them', async () => {
    const body = { model: MODEL, messages: [{ role: 'user', content: 'hi' }], max_tokens: 2 };
    for (const values of [
      { enable_thinking: false },
      { reasoning_effort: 'low' },
      { chat_template_kwargs: { a: 'b', messages: 'of the caller', add_generation_prompt: false } },
    ]) {
      const response = await stack.post('/v1/chat/completions', { ...body, ...values });
      expect(await response.json()).toMatchObject({ usage: { prompt_tokens: 21 } });
    }
  });
});

describe('speed without a trace', () => {
  test.each([
    ['greedy', { temperature: 0 }],
    ['seeded', { temperature: 0.7, seed: 11 }],
  ])('speculation gives the same text: %s', async (_, how) => {
    const body = { ...how, n: 2, max_tokens: 80, logit_bias: letters('ab'), repetition_penalty: 1.05 };
    const plain = await ask({ ...body, speculation: 'off' });
    const drafted = await ask({ ...body, speculation: 'n-gram' });
    expect(textsOf(drafted)).toEqual(textsOf(plain));
    const none = { accepted_prediction_tokens: 0, rejected_prediction_tokens: 0 };
    expect(plain.usage.completion_tokens_details).toMatchObject(none);
    expect(drafted.usage.completion_tokens_details.accepted_prediction_tokens).toBeGreaterThan(0);
  });

  test('a long prompt is found in the prefix cache, by requests of its salt only, and says the same', async () => {
    const prompt = Array.from({ length: 120 }, (_, i) => 100 + i);
    const cached = async (cache_salt: string) => {
      const { choices, usage } = await ask({ prompt, cache_salt });
      return [choices[0]?.text, usage.prompt_tokens_details.cached_tokens] as const;
    };
    const [text, none] = await cached('one');
    expect(none).toBe(0);
    const [again, some] = await cached('one');
    expect([again, some > 60]).toEqual([text, true]);
    expect(await cached('two')).toEqual([text, 0]);
  });
});
