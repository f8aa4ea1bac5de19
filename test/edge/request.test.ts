/** Request validation: what is taken, and that every refusal names the field. Pure. */
import { describe, expect, it } from 'vitest';
import { parseChat, parseText } from '../../edge/request.ts';
import { MillraceError } from '../../shared/errors.ts';

const messages = [{ role: 'user', content: 'hi' }];
const chat = (extra: object) => ({ model: 'm', messages, ...extra });
const text = (extra: object) => ({ model: 'm', prompt: 'hi', ...extra });
const withMessage = (message: unknown) => chat({ messages: [...messages, message] });

function refusal(parse: (body: unknown) => unknown, body: unknown): MillraceError {
  try {
    parse(body);
  } catch (error) {
    if (error instanceof MillraceError) return error;
    throw error;
  }
  throw new Error(`accepted: ${JSON.stringify(body)}`);
}

const BAD_VALUES: readonly (readonly [field: string, ...values: unknown[]])[] = [
  ['model', '', 7, 'x'.repeat(257), ['m']],
  ['stream', 'yes', 1],
  ['n', 0, 2, '1'],
  ['temperature', -0.1, 2.1, '1', true],
  ['top_p', -0.1, 1.1, 'x'],
  ['top_k', -2, 1.5, 1_000_001],
  ['min_p', -1, 2],
  ['seed', 0.5, 2 ** 53, 'a'],
  ['max_tokens', 0, -1, 1.5, 1_000_001, '5'],
  ['stop_token_ids', 'a'],
  ['ignore_eos', 0],
  ['frequency_penalty', 0.5],
  ['presence_penalty', -1],
  ['user', 5],
];

const CHAT_ONLY: readonly (readonly [field: string, ...values: unknown[]])[] = [
  ['messages', [], 'hi', {}],
  ['max_completion_tokens', 0, 'x'],
  ['logprobs', true],
];

const UNSUPPORTED = [
  ...['tools', 'tool_choice', 'functions', 'function_call', 'logit_bias', 'top_logprobs', 'modalities', 'audio'],
  ...['prediction', 'reasoning_effort', 'web_search_options', 'verbosity', 'best_of', 'guided_json', 'nonsense'],
];

const inFields = (table: typeof BAD_VALUES) =>
  table.flatMap(([field, ...values]) => values.map((value) => [field, value] as const));

/** vitest would spread a row that is a list. */
const wrapped = (...values: readonly unknown[]) => values.map((value) => [value] as const);

describe('refusals', () => {
  it.each([...inFields(BAD_VALUES), ...inFields(CHAT_ONLY)])('chat %s = %j', (field, value) => {
    const error = refusal(parseChat, chat({ [field]: value }));
    expect(error.code).toBe('invalid_value');
    expect(error.param).toBe(field);
    expect(error.message).toContain(`\`${field}\``);
  });

  it.each(inFields(BAD_VALUES))('text %s = %j', (field, value) => {
    expect(refusal(parseText, text({ [field]: value })).param).toBe(field);
  });

  it.each(UNSUPPORTED)('%s is refused by name', (field) => {
    for (const error of [refusal(parseChat, chat({ [field]: {} })), refusal(parseText, text({ [field]: [] }))]) {
      expect(error).toMatchObject({ code: 'unsupported_parameter', param: field });
      expect(error.message).toBe(`\`${field}\` is not supported; remove it.`);
    }
  });

  it.each([
    [{ role: 'tool', content: 'x' }, 'messages[1].role'],
    [{ role: 'user', content: 5 }, 'messages[1].content'],
    [{ role: 'user', content: 'x', name: 5 }, 'messages[1].name'],
    [{ role: 'assistant', content: 'x', tool_calls: [{}] }, 'messages[1].tool_calls'],
    [{ role: 'user', content: 'x', extra: 1 }, 'messages[1].extra'],
    [{ role: 'user', content: null }, 'messages[1].content'],
  ])('message %j names %s', (message, param) => {
    expect(refusal(parseChat, withMessage(message))).toMatchObject({ code: 'invalid_value', param });
  });

  it.each([
    [withMessage({ content: 'x' }), 'messages[1].role'],
    [withMessage({ role: 'user' }), 'messages[1].content'],
    [{ messages }, 'model'],
    [{ model: 'm' }, 'messages'],
  ])('%j misses %s', (body, param) => {
    expect(refusal(parseChat, body)).toMatchObject({ code: 'missing_required_parameter', param });
  });

  it.each(wrapped('', [], [''], ['a', 'b'], [1, 'a'], [-1], [1.5], [[1]], 5, {}))('prompt %j', (prompt) => {
    expect(refusal(parseText, text({ prompt }))).toMatchObject({ code: 'invalid_value', param: 'prompt' });
  });

  it.each(wrapped('', [''], ['a', 5], Array(17).fill('a'), 'x'.repeat(257), 5))('stop %j', (stop) => {
    expect(refusal(parseChat, chat({ stop }))).toMatchObject({ code: 'invalid_value', param: 'stop' });
  });

  it.each(wrapped(null, [], 'x', 5))('body %j', (body) => {
    expect(refusal(parseChat, body).code).toBe('invalid_json');
  });

  it('stream_options without stream', () => {
    expect(refusal(parseChat, chat({ stream_options: { include_usage: true } })).param).toBe('stream_options');
  });
});

describe('what is taken', () => {
  it('defaults are OpenAI’s', () => {
    const { params, stream, includeUsage } = parseChat(chat({}));
    expect(params).toMatchObject({ maxTokens: null, temperature: 1, topP: 1, topK: 0, seed: null, stop: [] });
    expect([stream, includeUsage]).toEqual([false, false]);
    expect(parseText(text({})).params.maxTokens).toBe(16);
  });

  it('null is absent', () => {
    const nulls = ['temperature', 'top_p', 'seed', 'stop', 'max_tokens', 'tools', 'n', 'stream', 'logit_bias'];
    const body = chat(Object.fromEntries(nulls.map((name) => [name, null])));
    expect(parseChat(body)).toEqual(parseChat(chat({})));
  });

  it('developer becomes system, text parts one text', () => {
    const content = ['a', 'b'].map((part) => ({ type: 'text', text: part }));
    const { prompt } = parseChat(chat({ messages: [{ role: 'developer', content }] }));
    expect(prompt).toEqual({ type: 'chat', messages: [{ role: 'system', content: 'ab' }] });
  });

  it('an answer’s message comes back as an SDK sends it', () => {
    const answer = { role: 'assistant', content: 'x', refusal: null, tool_calls: null, audio: null, annotations: null };
    const { prompt } = parseChat(withMessage(answer));
    expect(prompt).toEqual({ type: 'chat', messages: [...messages, { role: 'assistant', content: 'x' }] });
  });

  it('prompts: a string, a list with one string, token ids', () => {
    const promptOf = (prompt: unknown) => parseText(text({ prompt })).prompt;
    expect(promptOf('a')).toEqual({ type: 'text', text: 'a' });
    expect(promptOf(['a'])).toEqual({ type: 'text', text: 'a' });
    expect(promptOf([1, 2])).toEqual({ type: 'tokens', ids: [1, 2] });
  });

  it('max_completion_tokens wins; one stop string is a list; -1 turns top_k off', () => {
    const { params } = parseChat(chat({ max_tokens: 5, max_completion_tokens: 3, stop: 'x', top_k: -1 }));
    expect(params).toMatchObject({ maxTokens: 3, stop: ['x'], topK: 0 });
  });
});
