/** generation_config.json: the sampling that a model's makers recommend, for requests that leave it out. Knows no tensors. */
import * as v from 'valibot';
import { readJson } from './folder.ts';

/** As vLLM's `--generation-config auto`; a greedy recommendation (`do_sample: false`) changes nothing. */
export interface GenerationDefaults {
  readonly temperature: number;
  readonly topP: number;
  /** 0 = off. */
  readonly topK: number;
  readonly minP: number;
  readonly repetitionPenalty: number;
}

/** OpenAI's. */
export const PLAIN_DEFAULTS: GenerationDefaults = { temperature: 1, topP: 1, topK: 0, minP: 0, repetitionPenalty: 1 };

const within = (min: number, max: number) => v.pipe(v.number(), v.minValue(min), v.maxValue(max));
const orAbsent = <T extends v.GenericSchema<number>>(schema: T) => v.fallback(v.optional(schema), undefined);
const schema = v.object({
  temperature: orAbsent(within(0, 2)),
  top_p: orAbsent(within(0, 1)),
  top_k: orAbsent(v.pipe(v.number(), v.integer())),
  min_p: orAbsent(within(0, 1)),
  repetition_penalty: orAbsent(within(0.01, 10)),
});

/** A value out of range counts as absent: a recommendation is no reason not to serve. */
export function readGenerationDefaults(folder: string): GenerationDefaults {
  const parsed = v.safeParse(schema, readJson(folder, 'generation_config.json', false) ?? {});
  if (!parsed.success) return PLAIN_DEFAULTS;
  const { temperature, top_p, top_k, min_p, repetition_penalty } = parsed.output;
  return {
    temperature: temperature ?? PLAIN_DEFAULTS.temperature,
    topP: top_p ?? PLAIN_DEFAULTS.topP,
    topK: Math.max(0, top_k ?? PLAIN_DEFAULTS.topK),
    minP: min_p ?? PLAIN_DEFAULTS.minP,
    repetitionPenalty: repetition_penalty ?? PLAIN_DEFAULTS.repetitionPenalty,
  };
}
