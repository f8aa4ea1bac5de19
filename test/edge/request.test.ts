/** Request validation: what is taken, and that every refusal names the field. Pure. */
import { describe, expect, it } from 'vitest';
import { parseChat, parseText } from '../../edge/request.ts';
import { MillraceError } from '../../shared/errors.ts';
import { DEFAULT_SAMPLING } from '../../shared/sampling.ts';

const messages = [{ role: 'user', content: 'hi' }];
const chat = (extra: object) => ({ model: 'm', messages, ...extra });
const text = (extra: object) => ({ model: 'm', prompt: 'hi', ...extra });
const withMessage = (message: unknown) => chat({ messages: [...messages, message] });

/** None is in the words of the validation library. */
function refusal(parse: (body: unknown) => unknown, body: unknown): MillraceError {
  try {
    parse(body);
  } catch (error) {
    if (!(error instanceof MillraceError)) throw error;
    expect(error.message).not.toMatch(/Invalid|Expected|received/);
    return error;
  }
  throw new Error(`accepted: ${JSON.stringify(body)}`);
}

type Table = readonly (readonly [field: string, ...values: unknown[]])[];

/** Beyond JSON.parse's reach of numbers, too. */
const ENDLESS = JSON.parse('1e999') as number;

const BAD_VALUES: Table = [
  ['model', '', 7, 'x'.repeat(257), ['m']],
  ['stream', 'yes', 1],
  ['n', 0, 65, 1.5, '1', -1, ENDLESS],
  ['temperature', -0.1, 2.1, '1', true, ENDLESS],
  ['top_p', -0.1, 1.1, 'x'],
  ['top_k', -2, 1.5, 1_000_001],
  ['min_p', -1, 2],
  ['repetition_penalty', 0, -1, 10.1, '1', ENDLESS],
  ['frequency_penalty', -2.1, 2.1, '0', ENDLESS],
  ['presence_penalty', -2.1, 2.1, true],
  ['logit_bias', 5, 'a', [], [1], { a: 1 }, { '-1': 1 }, { '1.5': 1 }, { '05': 1 }, { 2147483648: 1 }],
  ['logit_bias', { 5: 100.5 }, { 5: -101 }, { 5: '1' }, { 5: null }, { 5: ENDLESS }, { 9999999999: 1 }, { '': 1 }],
  ['logit_bias', Object.fromEntries(Array.from({ length: 1025 }, (_, id) => [id, 1]))],
  ['seed', 0.5, 2 ** 53, 'a'],
  ['max_tokens', 0, -1, 1.5, 1_000_001, '5'],
  ['min_tokens', -1, 1.5, 1_000_001, '5'],
  ['stop_token_ids', 'a', Array(65).fill(1)],
  ['ignore_eos', 0],
  ['speculation', 'on', true, '', 'draft'],
  ['cache_salt', '', 5, 'x'.repeat(257)],
  ['user', 5],
  ['compression', 'lossless', 5, true],
];

const CHAT_ONLY: Table = [
  ['messages', [], 'hi', {}],
  ['max_completion_tokens', 0, 'x'],
  ['logprobs', 1, 'true', 0],
  ['top_logprobs', -1, 21, 1.5, true, 0, 5],
  ['enable_thinking', 'no', 1],
  ['prompt', 'hi', 5, true],
  ['reasoning_effort', 'some', true, ''],
  ['chat_template_kwargs', 5, 'a', [], { 'a b': 1 }, { '': 1 }, { ['x'.repeat(65)]: 1 }, { '1a': 1 }],
  ['chat_template_kwargs', Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`v${i}`, i]))],
];

const TEXT_ONLY: Table = [['logprobs', true, -1, 21, 1.5, '5']];

const UNSUPPORTED = [
  ...['tools', 'tool_choice', 'functions', 'function_call', 'modalities', 'audio', 'prediction', 'web_search_options'],
  ...['verbosity', 'best_of', 'suffix', 'echo', 'guided_json', 'guided_regex', 'guided_choice', 'structured_outputs'],
  ...['prompt_logprobs', 'use_beam_search', 'length_penalty', 'nonsense'],
];
const CHAT_FIELDS = ['top_logprobs', 'chat_template_kwargs', 'enable_thinking', 'reasoning_effort'];

const inFields = (table: Table) =>
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

  it.each([...inFields(BAD_VALUES), ...inFields(TEXT_ONLY)])('text %s = %j', (field, value) => {
    expect(refusal(parseText, text({ [field]: value })).param).toBe(field);
  });

  it.each(UNSUPPORTED)('%s is refused by name', (field) => {
    for (const error of [refusal(parseChat, chat({ [field]: {} })), refusal(parseText, text({ [field]: [1] }))]) {
      expect(error).toMatchObject({ code: 'unsupported_parameter', param: field });
      expect(error.message).toBe(`\`${field}\` is not supported; remove it.`);
    }
  });

  it.each([
    { echo: false, best_of: 1, suffix: '' },
    { tools: [], functions: [], tool_choice: 'none' },
    { tool_choice: 'auto', modalities: ['text'] },
  ])('%j asks for nothing, and is taken', (fields) => {
    expect(parseChat(chat(fields))).toEqual(parseChat(chat({})));
    expect(parseText(text(fields))).toEqual(parseText(text({})));
  });

  it.each([
    ['echo', true],
    ['best_of', 2],
    ['suffix', 'x'],
    ['tools', [{}]],
    ['tool_choice', 'required'],
    ['modalities', ['audio']],
  ])('%s: %j asks for something', (field, value) => {
    expect(refusal(parseText, text({ [field]: value }))).toMatchObject({ code: 'unsupported_parameter', param: field });
  });

  it.each(CHAT_FIELDS)('%s is for chats only', (field) => {
    const error = refusal(parseText, text({ [field]: true }));
    expect(error).toMatchObject({ code: 'unsupported_parameter', param: field });
  });

  it.each([
    [chat({ response_format: { type: 'json_object' } }), 'response_format.type'],
    [chat({ response_format: { type: 'json_schema', json_schema: {} } }), 'response_format.type'],
    [chat({ chat_template_kwargs: { a: [] } }), 'chat_template_kwargs.a'],
    [chat({ chat_template_kwargs: { a: null } }), 'chat_template_kwargs.a'],
    [chat({ chat_template_kwargs: { a: ENDLESS } }), 'chat_template_kwargs.a'],
    [chat({ chat_template_kwargs: { a: 'x'.repeat(1025) } }), 'chat_template_kwargs.a'],
    [chat({ chat_template_kwargs: { constructor: 1 } }), 'chat_template_kwargs.constructor'],
    [chat({ chat_template_kwargs: { toString: 'x', range: 2 } }), 'chat_template_kwargs.range'],
    [chat({ chat_template_kwargs: { prototype: true } }), 'chat_template_kwargs.prototype'],
    [chat({ chat_template_kwargs: { ['__proto__']: 'x' } }), 'chat_template_kwargs.__proto__'],
    [chat({ stop_token_ids: [1, -1] }), 'stop_token_ids[1]'],
    [chat({ max_tokens: 5, min_tokens: 6 }), 'min_tokens'],
    [chat({ max_tokens: 9, max_completion_tokens: 5, min_tokens: 6 }), 'min_tokens'],
    [chat({ logprobs: false, top_logprobs: 2 }), 'top_logprobs'],
    [chat({ compression: { mode: 'zip' } }), 'compression.mode'],
    [chat({ prompt: { id: '' } }), 'prompt.id'],
    [chat({ prompt: { id: 'a b' } }), 'prompt.id'],
    [chat({ compression: { mode: 'lossy', rate: 0.19 } }), 'compression.rate'],
    [chat({ compression: { mode: 'lossy', rate: '0.5' } }), 'compression.rate'],
    [chat({ compression: { mode: 'lossless', rate: 0.5 } }), 'compression.rate'],
  ])('chat %j names %s', (body, param) => {
    expect(refusal(parseChat, body)).toMatchObject({ code: 'invalid_value', param });
  });

  it('text: min_tokens above the default limit', () => {
    expect(refusal(parseText, text({ min_tokens: 17 })).message).toContain('limit of 16');
  });

  it.each([
    [{ role: 'tool', content: 'x' }, 'messages[1].role'],
    [{ role: 'user', content: 5 }, 'messages[1].content'],
    [{ role: 'user', content: 'x', name: 5 }, 'messages[1].name'],
    [{ role: 'assistant', content: 'x', tool_calls: [{}] }, 'messages[1].tool_calls'],
    [{ role: 'user', content: 'x', name: 'x'.repeat(65) }, 'messages[1].name'],
    [{ role: 'user', content: null }, 'messages[1].content'],
    [{ role: 'user', content: ['x'] }, 'messages[1].content[0]'],
    [{ role: 'user', content: [{ type: 'image_url', image_url: {} }] }, 'messages[1].content[0].type'],
    [{ role: 'user', content: [{ type: 'text', text: 5 }] }, 'messages[1].content[0].text'],
    [{ role: 'user', content: Array(1001).fill({ type: 'text', text: 'a' }) }, 'messages[1].content'],
    [null, 'messages[1]'],
    ['hi', 'messages[1]'],
  ])('message %j names %s', (message, param) => {
    expect(refusal(parseChat, withMessage(message))).toMatchObject({ code: 'invalid_value', param });
  });

  it.each([
    [withMessage({ role: 'user', content: 'x', extra: 1 }), 'messages[1].extra'],
    [chat({ prompt: { id: 'a', version: '2' } }), 'prompt.version'],
    [chat({ compression: { mode: 'off', level: 9 } }), 'compression.level'],
    [chat({ stream: true, stream_options: { include_obfuscation: true } }), 'stream_options.include_obfuscation'],
  ])('%j: %s is not supported', (body, param) => {
    const error = refusal(parseChat, body);
    expect(error).toMatchObject({ code: 'unsupported_parameter', param });
    expect(error.message).toBe(`\`${param}\` is not supported; remove it.`);
  });

  it.each([
    [withMessage({ content: 'x' }), 'messages[1].role'],
    [withMessage({ role: 'user' }), 'messages[1].content'],
    [{ messages }, 'model'],
    [{ model: 'm' }, 'messages'],
    [chat({ compression: { rate: 0.5 } }), 'compression.mode'],
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

/** A body's parameters, and what they are on the bus. */
const EVERYTHING = {
  ...{ temperature: 0.5, top_p: 0.9, top_k: 40, min_p: 0.05, repetition_penalty: 1.2 },
  ...{ frequency_penalty: -2, presence_penalty: 2, logit_bias: { 5: 100, 7: -0.5 }, n: 64 },
  ...{ seed: -7, max_tokens: 50, min_tokens: 50, stop: ['a', 'b'], stop_token_ids: [3], ignore_eos: true },
  params: {
    ...{ temperature: 0.5, topP: 0.9, topK: 40, minP: 0.05, repetitionPenalty: 1.2 },
    ...{ frequencyPenalty: -2, presencePenalty: 2, n: 64, seed: -7, maxTokens: 50, minTokens: 50 },
    logitBias: [
      [5, 100],
      [7, -0.5],
    ],
    ...{ stop: ['a', 'b'], stopTokenIds: [3], ignoreEos: true },
  },
};

describe('what is taken', () => {
  it('what is left out is the model’s own default, or off', () => {
    const { params, stream, includeUsage, speculation, cacheSalt, templateValues } = parseChat(chat({}));
    expect(params).toEqual(DEFAULT_SAMPLING);
    expect([stream, includeUsage]).toEqual([false, false]);
    expect({ speculation, cacheSalt, templateValues }).toEqual({
      speculation: 'auto',
      cacheSalt: '',
      templateValues: {},
    });
    expect(parseText(text({})).params).toEqual({ ...DEFAULT_SAMPLING, maxTokens: 16 });
  });

  it('null is absent', () => {
    const { params: _, ...fields } = EVERYTHING;
    const nulls = [...Object.keys(fields), 'tools', 'stream', 'user', 'response_format', 'functions', 'stop'];
    const body = chat(Object.fromEntries(nulls.map((name) => [name, null])));
    expect(parseChat(body)).toEqual(parseChat(chat({})));
    const { logprobs: __, ...textNulls } = Object.fromEntries(nulls.map((name) => [name, null]));
    expect(parseText(text({ ...textNulls, logprobs: null }))).toEqual(parseText(text({})));
  });

  it('every parameter arrives', () => {
    const { params, ...body } = EVERYTHING;
    expect(parseChat(chat({ ...body, logprobs: true, top_logprobs: 20 })).params).toEqual({ ...params, logprobs: 20 });
    expect(parseText(text({ ...body, logprobs: 5 })).params).toEqual({ ...params, logprobs: 5 });
  });

  it.each([
    [chat({ logprobs: true }), 0],
    [chat({ logprobs: true, top_logprobs: 0 }), 0],
    [chat({ logprobs: true, top_logprobs: 3 }), 3],
    [chat({ logprobs: false }), null],
    [chat({ logprobs: null, top_logprobs: null }), null],
  ])('log probabilities of chat %j: %j', (body, logprobs) => {
    expect(parseChat(body).params.logprobs).toBe(logprobs);
  });

  it.each([0, 5, 20, null])('log probabilities of text: %j', (logprobs) => {
    expect(parseText(text({ logprobs })).params.logprobs).toBe(logprobs);
  });

  it.each([
    [{}, {}],
    [{ reasoning_effort: 'none' }, { enable_thinking: false }],
    [{ reasoning_effort: 'high' }, { reasoning_effort: 'high' }],
    [{ enable_thinking: false }, { enable_thinking: false }],
    [{ reasoning_effort: 'none', enable_thinking: true }, { enable_thinking: true }],
    [{ enable_thinking: true, chat_template_kwargs: { enable_thinking: false } }, { enable_thinking: false }],
    [{ chat_template_kwargs: { _a1: 'x', b: 2, c: true } }, { _a1: 'x', b: 2, c: true }],
  ])('template values of %j', (body, values) => {
    expect(parseChat(chat(body)).templateValues).toEqual(values);
  });

  it('speculation and cache salt', () => {
    for (const speculation of ['off', 'auto', 'n-gram']) {
      expect(parseText(text({ speculation })).speculation).toBe(speculation);
    }
    expect(parseChat(chat({ cache_salt: 'x'.repeat(256) })).cacheSalt).toHaveLength(256);
  });

  it.each([
    [null, null],
    [{ mode: 'off' }, { mode: 'off', rate: 1 }],
    [
      { mode: 'lossless', rate: null },
      { mode: 'lossless', rate: 1 },
    ],
    [{ mode: 'lossy' }, { mode: 'lossy', rate: 0.7 }],
    [
      { mode: 'lossy', rate: 0.2 },
      { mode: 'lossy', rate: 0.2 },
    ],
  ])('compression %j', (compression, options) => {
    expect(parseChat(chat({ compression })).compression).toEqual(options);
    expect(parseText(text({ compression })).compression).toEqual(options);
  });

  it('a registered prompt by its id', () => {
    expect(parseChat(chat({ prompt: { id: 'pr_0-a' } })).promptId).toBe('pr_0-a');
    expect([parseChat(chat({ prompt: null })).promptId, parseText(text({})).promptId]).toEqual([null, null]);
  });

  it('developer becomes system, text parts one text', () => {
    const content = ['a', 'b'].map((part) => ({ type: 'text', text: part }));
    const { prompt } = parseChat(chat({ messages: [{ role: 'developer', content }] }));
    expect(prompt).toEqual({ type: 'chat', messages: [{ role: 'system', content: 'ab' }] });
  });

  it('an answer’s message comes back as an SDK sends it', () => {
    const answer = { role: 'assistant', content: 'x', refusal: null, tool_calls: null, audio: null, annotations: null };
    const { prompt } = parseChat(withMessage(answer));
    const kept = { type: 'chat', messages: [...messages, { role: 'assistant', content: 'x' }] };
    expect(prompt).toEqual(kept);
    expect(parseChat(withMessage({ ...answer, reasoning_content: 'hm' })).prompt).toEqual(kept);
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
