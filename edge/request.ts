/** HTTP body → job: the only validation of what clients send. Every refusal names the field and the fix. */
import * as v from 'valibot';
import { MillraceError } from '../shared/errors.ts';
import type { Prompt } from '../shared/protocol.ts';
import { DEFAULT_SAMPLING, SAMPLING_LIMITS, type SamplingParams } from '../shared/sampling.ts';

export type Kind = 'chat' | 'text';

export interface Job {
  readonly kind: Kind;
  readonly model: string;
  readonly prompt: Prompt;
  readonly params: SamplingParams;
  readonly stream: boolean;
  readonly includeUsage: boolean;
}

const MAX_MESSAGES = 10_000;
const limits = SAMPLING_LIMITS;

const text = v.string('must be a string');
const within = (min: number, max: number, whole: boolean) => {
  const message = `must be ${whole ? 'an integer' : 'a number'} from ${min} to ${max}`;
  return v.pipe(
    v.number(message),
    v.check((value) => value >= min && value <= max && (!whole || Number.isInteger(value)), message),
  );
};
const flag = v.boolean('must be true or false');
const stopText = v.pipe(
  text,
  v.minLength(1, 'must not be empty'),
  v.maxLength(limits.maxStopLength, `must have at most ${limits.maxStopLength} characters`),
);
/** null counts as absent, as in OpenAI's API. */
const optional = <T extends v.GenericSchema>(schema: T) => v.nullish(schema);

const sampling = {
  temperature: optional(within(0, limits.temperature, false)),
  top_p: optional(within(0, 1, false)),
  top_k: optional(within(-1, limits.topK, true)),
  min_p: optional(within(0, 1, false)),
  seed: optional(within(Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER, true)),
  max_tokens: optional(within(1, limits.maxTokens, true)),
  stop: optional(
    v.union(
      [stopText, v.pipe(v.array(stopText), v.maxLength(limits.maxStops))],
      `must be a string of 1 to ${limits.maxStopLength} characters, or at most ${limits.maxStops} of them`,
    ),
  ),
  stop_token_ids: optional(
    v.pipe(
      v.array(within(0, 2 ** 31 - 1, true), 'must be a list of token ids'),
      v.maxLength(limits.maxStopTokenIds, `must have at most ${limits.maxStopTokenIds} ids`),
    ),
  ),
  ignore_eos: optional(flag),
};

const common = {
  model: v.pipe(text, v.minLength(1, 'must not be empty'), v.maxLength(256, 'must have at most 256 characters')),
  stream: optional(flag),
  stream_options: optional(v.strictObject({ include_usage: optional(flag) }, 'knows only `include_usage`')),
  n: optional(v.literal(1, 'must be 1: several choices are not supported yet')),
  frequency_penalty: optional(v.literal(0, 'is not supported yet; leave it out or at 0')),
  presence_penalty: optional(v.literal(0, 'is not supported yet; leave it out or at 0')),
  user: optional(text),
  ...sampling,
};

const EMPTY_FIELDS = ['refusal', 'annotations', 'audio', 'function_call', 'tool_calls'] as const;
const absent = v.nullish(v.null('is not supported yet; remove it'));
const part = v.object({ type: v.literal('text', 'must be "text": other content is not supported'), text });
const message = v.strictObject(
  {
    role: v.picklist(['system', 'developer', 'user', 'assistant'], 'must be system, developer, user or assistant'),
    content: v.union([text, v.pipe(v.array(part), v.maxLength(1000))], 'must be a string or a list of text parts'),
    name: optional(v.pipe(text, v.maxLength(64))),
    // SDKs send an answer's message back whole, empty fields included.
    ...Object.fromEntries(EMPTY_FIELDS.map((field) => [field, absent])),
  },
  'has a field that is not supported',
);

const chatSchema = v.object({
  ...common,
  messages: v.pipe(
    v.array(message, 'must be a list of messages'),
    v.minLength(1, 'must have at least one message'),
    v.maxLength(MAX_MESSAGES, `must have at most ${MAX_MESSAGES} messages`),
  ),
  max_completion_tokens: optional(within(1, limits.maxTokens, true)),
  logprobs: optional(v.literal(false, 'is not supported yet; leave it out')),
  response_format: optional(v.strictObject({ type: v.literal('text') }, 'is not supported yet beyond {"type":"text"}')),
});

const textSchema = v.object({
  ...common,
  prompt: v.union(
    [
      v.pipe(text, v.minLength(1)),
      v.pipe(v.array(within(0, 2 ** 31 - 1, true)), v.minLength(1)),
      v.strictTuple([v.pipe(text, v.minLength(1))]),
    ],
    'must be one string that is not empty, or one list of token ids; send several prompts as several requests',
  ),
});

/** Harmless parameters of OpenAI's API that change nothing here. */
const IGNORED = new Set([
  'store',
  'metadata',
  'service_tier',
  'safety_identifier',
  'prompt_cache_key',
  'parallel_tool_calls',
]);

export function parseChat(body: unknown): Job {
  const input = parse(chatSchema, body);
  const messages = input.messages.map(({ role, content, name }) => ({
    role: role === 'developer' ? ('system' as const) : role,
    content: typeof content === 'string' ? content : content.map((each) => each.text).join(''),
    ...(typeof name === 'string' ? { name } : {}),
  }));
  const maxTokens = input.max_completion_tokens ?? input.max_tokens ?? null;
  return { kind: 'chat', prompt: { type: 'chat', messages }, ...shared(input, maxTokens) };
}

export function parseText(body: unknown): Job {
  const input = parse(textSchema, body);
  const { prompt } = input;
  // OpenAI's default of this endpoint.
  const maxTokens = input.max_tokens ?? 16;
  return { kind: 'text', prompt: textPrompt(prompt), ...shared(input, maxTokens) };
}

function textPrompt(prompt: string | readonly number[] | readonly [string]): Prompt {
  if (typeof prompt === 'string') return { type: 'text', text: prompt };
  const ids = prompt.filter((item) => typeof item === 'number');
  return ids.length > 0 ? { type: 'tokens', ids } : { type: 'text', text: String(prompt[0]) };
}

type Shared = v.InferOutput<v.ObjectSchema<typeof common, undefined>>;

function shared(input: Shared, maxTokens: number | null): Omit<Job, 'kind' | 'prompt'> {
  const stop = input.stop ?? [];
  const params: SamplingParams = {
    maxTokens,
    temperature: input.temperature ?? DEFAULT_SAMPLING.temperature,
    topP: input.top_p ?? DEFAULT_SAMPLING.topP,
    // -1 is vLLM's word for off.
    topK: Math.max(0, input.top_k ?? DEFAULT_SAMPLING.topK),
    minP: input.min_p ?? DEFAULT_SAMPLING.minP,
    seed: input.seed ?? null,
    stop: typeof stop === 'string' ? [stop] : stop,
    stopTokenIds: input.stop_token_ids ?? [],
    ignoreEos: input.ignore_eos ?? false,
  };
  const stream = input.stream ?? false;
  if (!stream && input.stream_options != null) {
    throw new MillraceError('invalid_value', '`stream_options` needs `stream: true`.', { param: 'stream_options' });
  }
  return { model: input.model, params, stream, includeUsage: input.stream_options?.include_usage ?? false };
}

function parse<T extends v.ObjectSchema<v.ObjectEntries, undefined>>(schema: T, body: unknown): v.InferOutput<T> {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw new MillraceError('invalid_json', 'The request body must be a JSON object.');
  }
  for (const [name, value] of Object.entries(body)) {
    if (value === null || Object.hasOwn(schema.entries, name) || IGNORED.has(name)) continue;
    const shown = name.slice(0, 64);
    throw new MillraceError('unsupported_parameter', `\`${shown}\` is not supported; remove it.`, { param: shown });
  }
  const parsed = v.safeParse(schema, body, { abortEarly: true });
  if (parsed.success) return parsed.output;
  const issue = parsed.issues[0];
  const param = paramName(issue.path ?? []);
  if (issue.input === undefined) {
    throw new MillraceError('missing_required_parameter', `\`${param}\` is missing.`, { param });
  }
  throw new MillraceError('invalid_value', `\`${param}\` ${issue.message}.`, { param });
}

/** OpenAI's spelling: `messages[2].content`. */
function paramName(path: readonly { readonly key?: unknown }[]): string {
  const name = path.map(({ key }) => (typeof key === 'number' ? `[${key}]` : `.${String(key)}`)).join('');
  return name.replace(/^\./, '').slice(0, 128);
}
