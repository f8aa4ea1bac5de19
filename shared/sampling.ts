/** Sampling parameters as they travel and as the engine reads them; knows their ranges, not how a token is drawn. */
import * as v from 'valibot';

/** Bounds every caller-given number; the edge names the field, the bus schema repeats the same limits. */
export const SAMPLING_LIMITS = {
  maxTokens: 1_000_000,
  temperature: 2,
  topK: 1_000_000,
  maxStops: 16,
  maxStopLength: 256,
  maxStopTokenIds: 64,
} as const;

const integer = (min: number, max: number) => v.pipe(v.number(), v.integer(), v.minValue(min), v.maxValue(max));
const fraction = v.pipe(v.number(), v.minValue(0), v.maxValue(1));

export const samplingParamsSchema = v.object({
  /** Upper bound of output tokens; null = whatever the context still holds. */
  maxTokens: v.nullable(integer(1, SAMPLING_LIMITS.maxTokens)),
  /** 0 = greedy. */
  temperature: v.pipe(v.number(), v.minValue(0), v.maxValue(SAMPLING_LIMITS.temperature)),
  /** Keep the smallest set of tokens whose probability reaches this; 1 = off. */
  topP: fraction,
  /** Keep the k most likely tokens; 0 = off. */
  topK: integer(0, SAMPLING_LIMITS.topK),
  /** Drop tokens less likely than minP × the likeliest one; 0 = off. */
  minP: fraction,
  /** Noise key; the worker draws one for an unseeded request (null). */
  seed: v.nullable(v.pipe(v.number(), v.safeInteger())),
  /** Generation ends before the first of these would appear in the text. */
  stop: v.pipe(
    v.array(v.pipe(v.string(), v.minLength(1), v.maxLength(SAMPLING_LIMITS.maxStopLength))),
    v.maxLength(SAMPLING_LIMITS.maxStops),
  ),
  stopTokenIds: v.pipe(v.array(integer(0, 2 ** 31 - 1)), v.maxLength(SAMPLING_LIMITS.maxStopTokenIds)),
  /** Keep generating through end-of-sequence tokens, up to maxTokens. For benchmarks. */
  ignoreEos: v.boolean(),
});

export type SamplingParams = v.InferOutput<typeof samplingParamsSchema>;

/** OpenAI's defaults; a model's generation_config may replace those a request leaves out. */
export const DEFAULT_SAMPLING: SamplingParams = {
  maxTokens: null,
  temperature: 1,
  topP: 1,
  topK: 0,
  minP: 0,
  seed: null,
  stop: [],
  stopTokenIds: [],
  ignoreEos: false,
};
