/** Sampling parameters of a body, by OpenAI's names or vLLM's where it has none: bounds, and the form they travel in. */
import * as v from 'valibot';
import { MillraceError } from '../shared/errors.ts';
import { SAMPLING_LIMITS, type SamplingParams } from '../shared/sampling.ts';
import { flag, optional, text, tokenId, within } from './fields.ts';

const limits = SAMPLING_LIMITS;
const TOKEN_ID = /^(0|[1-9]\d{0,9})$/;

const STOP_FORMS = `must be a string of 1 to ${limits.maxStopLength} characters, or at most ${limits.maxStops} of them`;
const stopText = v.pipe(
  text,
  v.minLength(1, 'must not be empty'),
  v.maxLength(limits.maxStopLength, `must have at most ${limits.maxStopLength} characters`),
);
const penalty = within(-limits.penalty, limits.penalty, 'a number');
const topLogprobs = within(0, limits.topLogprobs, 'an integer');

/** Of both endpoints. Absent = the model's own default, or off. */
export const samplingFields = {
  temperature: optional(within(0, limits.temperature, 'a number')),
  top_p: optional(within(0, 1, 'a number')),
  top_k: optional(within(-1, limits.topK, 'an integer')),
  min_p: optional(within(0, 1, 'a number')),
  repetition_penalty: optional(within(0.01, limits.repetitionPenalty, 'a number')),
  frequency_penalty: optional(penalty),
  presence_penalty: optional(penalty),
  logit_bias: optional(
    v.custom<Record<string, number>>(
      isLogitBias,
      `must map token ids to numbers from ${-limits.logitBias} to ${limits.logitBias}, at most ${limits.maxLogitBiases}`,
    ),
  ),
  n: optional(within(1, limits.n, 'an integer')),
  seed: optional(within(Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER, 'an integer')),
  max_tokens: optional(within(1, limits.maxTokens, 'an integer')),
  min_tokens: optional(within(0, limits.maxTokens, 'an integer')),
  stop: optional(v.union([stopText, v.pipe(v.array(stopText), v.maxLength(limits.maxStops, STOP_FORMS))], STOP_FORMS)),
  stop_token_ids: optional(
    v.pipe(
      v.array(tokenId, 'must be a list of token ids'),
      v.maxLength(limits.maxStopTokenIds, `must have at most ${limits.maxStopTokenIds} ids`),
    ),
  ),
  ignore_eos: optional(flag),
};

/** Whether, and how many alternatives. */
export const chatLogprobFields = { logprobs: optional(flag), top_logprobs: optional(topLogprobs) };
/** How many alternatives: at most 5 in OpenAI's API, 20 in vLLM's. */
export const textLogprobFields = { logprobs: optional(topLogprobs) };

type Fields<T extends v.ObjectEntries> = v.InferOutput<v.ObjectSchema<T, undefined>>;

/** Throws where `top_logprobs` comes alone. */
export function chatLogprobs({ logprobs, top_logprobs: top }: Fields<typeof chatLogprobFields>): number | null {
  if (logprobs === true) return top ?? 0;
  if (top == null) return null;
  throw new MillraceError('invalid_value', '`top_logprobs` needs `logprobs: true`.', { param: 'top_logprobs' });
}

/** Of the endpoint, once its own names are resolved; null as in SamplingParams. */
export type Resolved = Pick<SamplingParams, 'maxTokens' | 'logprobs'>;

/** Throws when `min_tokens` is above the limit. */
export function toSamplingParams(
  input: Fields<typeof samplingFields>,
  { maxTokens, logprobs }: Resolved,
): SamplingParams {
  const minTokens = input.min_tokens ?? 0;
  if (maxTokens !== null && minTokens > maxTokens) {
    const message = `\`min_tokens\` is ${minTokens}, above the limit of ${maxTokens} output tokens.`;
    throw new MillraceError('invalid_value', message, { param: 'min_tokens' });
  }
  const stop = input.stop ?? [];
  const topK = input.top_k ?? null;
  return {
    maxTokens,
    minTokens,
    n: input.n ?? 1,
    temperature: input.temperature ?? null,
    topP: input.top_p ?? null,
    // -1 is vLLM's word for off.
    topK: topK === -1 ? 0 : topK,
    minP: input.min_p ?? null,
    repetitionPenalty: input.repetition_penalty ?? null,
    frequencyPenalty: input.frequency_penalty ?? 0,
    presencePenalty: input.presence_penalty ?? 0,
    logitBias: Object.entries(input.logit_bias ?? {}).map(([id, bias]) => [Number(id), bias]),
    logprobs,
    seed: input.seed ?? null,
    stop: typeof stop === 'string' ? [stop] : stop,
    stopTokenIds: input.stop_token_ids ?? [],
    ignoreEos: input.ignore_eos ?? false,
  };
}

function isLogitBias(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const entries: readonly (readonly [string, unknown])[] = Object.entries(value);
  if (entries.length > limits.maxLogitBiases) return false;
  return entries.every(([id, bias]) => {
    const isId = TOKEN_ID.test(id) && v.is(tokenId, Number(id));
    return isId && typeof bias === 'number' && Math.abs(bias) <= limits.logitBias;
  });
}
