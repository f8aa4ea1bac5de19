/** Sampling parameters as they travel; knows their ranges, not how a token is drawn. */
import * as v from 'valibot';

/** Bounds every caller-given number; the edge names the field, the bus schema repeats the same limits. */
export const SAMPLING_LIMITS = {
  maxTokens: 1_000_000,
  n: 64,
  temperature: 2,
  topK: 1_000_000,
  repetitionPenalty: 10,
  /** Of frequency and presence penalties, either sign. */
  penalty: 2,
  /** Either sign. */
  logitBias: 100,
  maxLogitBiases: 1024,
  topLogprobs: 20,
  maxStops: 16,
  maxStopLength: 256,
  maxStopTokenIds: 64,
} as const;

const limits = SAMPLING_LIMITS;
const tokenId = { min: 0, max: 2 ** 31 - 1 };
const integer = (min: number, max: number) => v.pipe(v.number(), v.integer(), v.minValue(min), v.maxValue(max));
const number = (min: number, max: number) => v.pipe(v.number(), v.minValue(min), v.maxValue(max));
const id = integer(tokenId.min, tokenId.max);

export const samplingParamsSchema = v.object({
  /** Upper bound of output tokens; null = whatever the context still holds. */
  maxTokens: v.nullable(integer(1, limits.maxTokens)),
  /** No end-of-sequence token, stop token or stop text before so many output tokens. */
  minTokens: integer(0, limits.maxTokens),
  /** Choices. */
  n: integer(1, limits.n),
  /** 0 = greedy. Null here and below = the model's own default (generation_config.json), or off. */
  temperature: v.nullable(number(0, limits.temperature)),
  /** Keep the smallest set of tokens whose probability reaches this; 1 = off. */
  topP: v.nullable(number(0, 1)),
  /** Keep the k most likely tokens; 0 = off. */
  topK: v.nullable(integer(0, limits.topK)),
  /** Drop tokens less likely than minP × the likeliest one; 0 = off. */
  minP: v.nullable(number(0, 1)),
  /** Divides the positive and multiplies the negative logits of tokens seen before; 1 = off (CTRL, arXiv 1909.05858). */
  repetitionPenalty: v.nullable(number(0.01, limits.repetitionPenalty)),
  /** Subtracted from a token's logit for each time it stands in the output; 0 = off. */
  frequencyPenalty: number(-limits.penalty, limits.penalty),
  /** Subtracted once from the logit of every token in the output; 0 = off. */
  presencePenalty: number(-limits.penalty, limits.penalty),
  /** Added to the logits of these ids. */
  logitBias: v.pipe(
    v.array(v.tuple([id, number(-limits.logitBias, limits.logitBias)])),
    v.maxLength(limits.maxLogitBiases),
  ),
  /** Alternatives to report for each output token; null = no log probabilities. */
  logprobs: v.nullable(integer(0, limits.topLogprobs)),
  /** Noise key; null = unseeded. */
  seed: v.nullable(v.pipe(v.number(), v.safeInteger())),
  /** Generation ends before the first of these would appear in the text. */
  stop: v.pipe(
    v.array(v.pipe(v.string(), v.minLength(1), v.maxLength(limits.maxStopLength))),
    v.maxLength(limits.maxStops),
  ),
  stopTokenIds: v.pipe(v.array(id), v.maxLength(limits.maxStopTokenIds)),
  /** Keep generating through end-of-sequence tokens, up to maxTokens. For benchmarks. */
  ignoreEos: v.boolean(),
});

export type SamplingParams = v.InferOutput<typeof samplingParamsSchema>;

export const DEFAULT_SAMPLING: SamplingParams = {
  maxTokens: null,
  minTokens: 0,
  n: 1,
  temperature: null,
  topP: null,
  topK: null,
  minP: null,
  repetitionPenalty: null,
  frequencyPenalty: 0,
  presencePenalty: 0,
  logitBias: [],
  logprobs: null,
  seed: null,
  stop: [],
  stopTokenIds: [],
  ignoreEos: false,
};
