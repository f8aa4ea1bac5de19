/** HTTP body → job: the only validation of what clients send. Every refusal names the field and the fix. */
import * as v from 'valibot';
import { MillraceError } from '../shared/errors.ts';
import type { Prompt, Submit } from '../shared/protocol.ts';
import { SAMPLING_LIMITS } from '../shared/sampling.ts';
import type { CompressionOptions } from './compress/compress.ts';
import { compressionFields, compressionOf } from './compression.ts';
import { flag, optional, text, tokenId, within } from './fields.ts';
import {
  chatLogprobFields,
  chatLogprobs,
  samplingFields,
  textLogprobFields,
  toSamplingParams,
  type Resolved,
} from './sampling-fields.ts';
import { templateFields, templateValues } from './template-fields.ts';

export type Kind = 'chat' | 'text';

export interface Job extends Pick<
  Submit,
  'model' | 'prompt' | 'params' | 'speculation' | 'cacheSalt' | 'templateValues'
> {
  readonly kind: Kind;
  readonly stream: boolean;
  readonly includeUsage: boolean;
  /** Null: its key's default. */
  readonly compression: CompressionOptions | null;
  /** Of a registered system prompt to begin with. */
  readonly promptId: string | null;
}

const MAX_MESSAGES = 10_000;
const MAX_PARTS = 1000;
/** OpenAI's default of this endpoint. */
const DEFAULT_TEXT_TOKENS = 16;

const common = {
  model: v.pipe(text, v.minLength(1, 'must not be empty'), v.maxLength(256, 'must have at most 256 characters')),
  stream: optional(flag),
  stream_options: optional(v.strictObject({ include_usage: optional(flag) }, 'must be an object of `include_usage`')),
  user: optional(text),
  speculation: optional(v.picklist(['off', 'auto', 'n-gram'], 'must be off, auto or n-gram')),
  cache_salt: optional(
    v.pipe(text, v.minLength(1, 'must not be empty'), v.maxLength(256, 'must have at most 256 characters')),
  ),
  ...compressionFields,
  ...samplingFields,
};

const EMPTY_FIELDS = ['refusal', 'annotations', 'audio', 'function_call', 'tool_calls'] as const;
const absent = v.nullish(v.null('is not supported yet; remove it'));
const part = v.object(
  { type: v.literal('text', 'must be "text": other content is not supported'), text },
  'must be an object of `type` and `text`',
);
const parts = v.pipe(v.array(part), v.maxLength(MAX_PARTS, `must have at most ${MAX_PARTS} parts`));
const contentText = v.string('must be a string or a list of text parts');
const message = v.strictObject(
  {
    role: v.picklist(['system', 'developer', 'user', 'assistant'], 'must be system, developer, user or assistant'),
    content: v.lazy((input) => (Array.isArray(input) ? parts : contentText)),
    name: optional(v.pipe(text, v.maxLength(64, 'must have at most 64 characters'))),
    // SDKs send an answer's message back whole, empty fields included.
    ...Object.fromEntries(EMPTY_FIELDS.map((field) => [field, absent])),
    // What the model thought on its way to an earlier answer is not shown to it again.
    reasoning_content: optional(text),
  },
  'must be an object of `role` and `content`',
);

const chatSchema = v.object({
  ...common,
  messages: v.pipe(
    v.array(message, 'must be a list of messages'),
    v.minLength(1, 'must have at least one message'),
    v.maxLength(MAX_MESSAGES, `must have at most ${MAX_MESSAGES} messages`),
  ),
  /** Of OpenAI's Responses API. */
  prompt: optional(
    v.strictObject(
      { id: v.pipe(text, v.regex(/^[\w-]{1,64}$/, 'must have letters, digits, _ and -, at most 64')) },
      'must be an object of `id`',
    ),
  ),
  max_completion_tokens: optional(within(1, SAMPLING_LIMITS.maxTokens, 'an integer')),
  ...chatLogprobFields,
  ...templateFields,
  response_format: optional(
    v.strictObject(
      { type: v.literal('text', 'must be "text": structured output is not supported yet') },
      'is not supported yet beyond {"type":"text"}',
    ),
  ),
});

const PROMPT_FORMS =
  'must be one string that is not empty, or one list of token ids; send several prompts as several requests';
const filledText = v.pipe(text, v.minLength(1, PROMPT_FORMS));

const textSchema = v.object({
  ...common,
  ...textLogprobFields,
  prompt: v.union(
    [filledText, v.pipe(v.array(tokenId), v.minLength(1, PROMPT_FORMS)), v.strictTuple([filledText])],
    PROMPT_FORMS,
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

/** Parameters that are not supported, with the values (JSON) by which they ask for nothing: some clients send them always. */
const NO_WISHES: ReadonlyMap<string, readonly string[]> = new Map([
  ['best_of', ['1']],
  ['echo', ['false']],
  ['functions', ['[]']],
  ['modalities', ['["text"]']],
  ['suffix', ['""']],
  ['tool_choice', ['"none"', '"auto"']],
  ['tools', ['[]']],
]);

export function parseChat(body: unknown): Job {
  const input = parse(chatSchema, body);
  const messages = input.messages.map(({ role, content, name }) => ({
    role: role === 'developer' ? ('system' as const) : role,
    content: typeof content === 'string' ? content : content.map((each) => each.text).join(''),
    ...(typeof name === 'string' ? { name } : {}),
  }));
  const maxTokens = input.max_completion_tokens ?? input.max_tokens ?? null;
  const rest = shared(input, { maxTokens, logprobs: chatLogprobs(input) });
  const promptId = input.prompt?.id ?? null;
  return { kind: 'chat', prompt: { type: 'chat', messages }, promptId, templateValues: templateValues(input), ...rest };
}

export function parseText(body: unknown): Job {
  const input = parse(textSchema, body);
  const maxTokens = input.max_tokens ?? DEFAULT_TEXT_TOKENS;
  const rest = shared(input, { maxTokens, logprobs: input.logprobs ?? null });
  return { kind: 'text', prompt: textPrompt(input.prompt), promptId: null, templateValues: {}, ...rest };
}

function textPrompt(prompt: string | readonly number[] | readonly [string]): Prompt {
  if (typeof prompt === 'string') return { type: 'text', text: prompt };
  const ids = prompt.filter((item) => typeof item === 'number');
  return ids.length > 0 ? { type: 'tokens', ids } : { type: 'text', text: String(prompt[0]) };
}

type Shared = v.InferOutput<v.ObjectSchema<typeof common, undefined>>;

function shared(input: Shared, resolved: Resolved): Omit<Job, 'kind' | 'prompt' | 'promptId' | 'templateValues'> {
  const stream = input.stream ?? false;
  if (!stream && input.stream_options != null) {
    throw new MillraceError('invalid_value', '`stream_options` needs `stream: true`.', { param: 'stream_options' });
  }
  return {
    model: input.model,
    params: toSamplingParams(input, resolved),
    speculation: input.speculation ?? 'auto',
    cacheSalt: input.cache_salt ?? '',
    stream,
    includeUsage: input.stream_options?.include_usage ?? false,
    compression: compressionOf(input),
  };
}

function parse<T extends v.ObjectSchema<v.ObjectEntries, undefined>>(schema: T, body: unknown): v.InferOutput<T> {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw new MillraceError('invalid_json', 'The request body must be a JSON object.');
  }
  for (const [name, value] of Object.entries(body)) {
    if (value === null || Object.hasOwn(schema.entries, name) || IGNORED.has(name)) continue;
    if (NO_WISHES.get(name)?.includes(JSON.stringify(value)) === true) continue;
    throw unsupported(name.slice(0, 64));
  }
  const parsed = v.safeParse(schema, body, { abortEarly: true });
  if (parsed.success) return parsed.output;
  const issue = parsed.issues[0];
  const param = paramName(issue.path ?? []);
  if (issue.input === undefined) {
    throw new MillraceError('missing_required_parameter', `\`${param}\` is missing.`, { param });
  }
  if (issue.type === 'strict_object' && issue.expected === 'never') throw unsupported(param);
  throw new MillraceError('invalid_value', `\`${param}\` ${issue.message}.`, { param });
}

function unsupported(param: string): MillraceError {
  return new MillraceError('unsupported_parameter', `\`${param}\` is not supported; remove it.`, { param });
}

/** OpenAI's spelling: `messages[2].content`. */
function paramName(path: readonly { readonly key?: unknown }[]): string {
  const name = path.map(({ key }) => (typeof key === 'number' ? `[${key}]` : `.${String(key)}`)).join('');
  return name.replace(/^\./, '').slice(0, 128);
}
