/** The rotary settings of config.json, in their old and new places, checked. Knows no tables. */
import * as v from 'valibot';
import { refusal } from './folder.ts';

/** Rotary position embedding of a layer's queries and keys. */
export interface Rope {
  readonly theta: number;
  /** Leading dimensions of a head that are rotated; the rest pass. */
  readonly dims: number;
  readonly scaling: RopeScaling | null;
}

/** How frequencies are stretched to lengths beyond those of the first training. */
export type RopeScaling = LinearScaling | Llama3Scaling | YarnScaling | LongRopeScaling;

export interface LinearScaling {
  readonly type: 'linear';
  readonly factor: number;
}

/** Llama 3.1's stretching of low frequencies. */
export interface Llama3Scaling {
  readonly type: 'llama3';
  readonly factor: number;
  readonly lowFreqFactor: number;
  readonly highFreqFactor: number;
  readonly originalMaxPositions: number;
}

/** YaRN (arXiv:2309.00071). */
export interface YarnScaling {
  readonly type: 'yarn';
  readonly factor: number;
  readonly betaFast: number;
  readonly betaSlow: number;
  /** Whether the range between the betas begins and ends at whole dimensions. */
  readonly truncate: boolean;
  readonly originalMaxPositions: number;
  /** Multiplies cosine and sine. */
  readonly attentionFactor: number;
}

/** LongRoPE (arXiv:2402.13753): a factor per frequency, one list for lengths up to the original, one beyond. */
export interface LongRopeScaling {
  readonly type: 'longrope';
  readonly shortFactors: readonly number[];
  readonly longFactors: readonly number[];
  readonly originalMaxPositions: number;
  readonly attentionFactor: number;
}

const positive = v.pipe(v.number(), v.minValue(1e-9), v.maxValue(1e12));
const factors = v.nullish(v.pipe(v.array(positive), v.maxLength(4096)));
const ropeFields = v.looseObject({
  rope_type: v.nullish(v.string()),
  type: v.nullish(v.string()),
  rope_theta: v.nullish(v.pipe(v.number(), v.minValue(1))),
  partial_rotary_factor: v.nullish(v.pipe(v.number(), v.minValue(0), v.maxValue(1))),
  factor: v.nullish(positive),
  attention_factor: v.nullish(positive),
  low_freq_factor: v.nullish(positive),
  high_freq_factor: v.nullish(positive),
  beta_fast: v.nullish(positive),
  beta_slow: v.nullish(positive),
  mscale: v.nullish(v.number()),
  mscale_all_dim: v.nullish(v.number()),
  truncate: v.nullish(v.boolean()),
  short_factor: factors,
  long_factor: factors,
  original_max_position_embeddings: v.nullish(positive),
});
type RopeFields = v.InferOutput<typeof ropeFields>;

/** What config.json says about rotation; spread into its schema. */
export const ropeSchema = {
  rope_theta: v.nullish(v.pipe(v.number(), v.minValue(1))),
  rope_local_base_freq: v.nullish(v.pipe(v.number(), v.minValue(1))),
  partial_rotary_factor: v.nullish(v.pipe(v.number(), v.minValue(0), v.maxValue(1))),
  original_max_position_embeddings: v.nullish(positive),
  max_position_embeddings: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(1 << 24)),
  rope_scaling: v.nullish(ropeFields),
  rope_parameters: v.nullish(
    v.looseObject({
      ...ropeFields.entries,
      full_attention: v.nullish(ropeFields),
      sliding_attention: v.nullish(ropeFields),
    }),
  ),
};
const ropeConfig = v.object(ropeSchema);
export type RopeConfig = v.InferOutput<typeof ropeConfig>;

/** Of layers that see everything, and of those with a sliding window. */
export function readRopes(
  hf: RopeConfig,
  headDim: number,
  modelType: string,
): { readonly full: Rope; readonly sliding: Rope } {
  const { full_attention: fullFields, sliding_attention: slidingFields, ...flat } = hf.rope_parameters ?? {};
  const shared = {
    rope_theta: hf.rope_theta ?? 10_000,
    partial_rotary_factor: hf.partial_rotary_factor,
    original_max_position_embeddings: hf.original_max_position_embeddings,
  };
  const read = (own: RopeFields): Rope => readRope({ ...shared, ...defined(own) }, { hf, headDim, modelType });
  const full = read({ ...hf.rope_scaling, ...defined(flat), ...defined(fullFields ?? {}) });
  if ((slidingFields ?? hf.rope_local_base_freq) == null) return { full, sliding: full };
  return { full, sliding: read({ rope_theta: hf.rope_local_base_freq, ...defined(slidingFields ?? {}) }) };
}

/** The longest sequence: YaRN's configs may give the length before stretching. */
export function maxPositionsOf(hf: RopeConfig, { scaling }: Rope): number {
  if (scaling?.type !== 'yarn') return hf.max_position_embeddings;
  return Math.max(hf.max_position_embeddings, Math.floor(scaling.factor * scaling.originalMaxPositions));
}

interface RopeContext {
  readonly hf: RopeConfig;
  readonly headDim: number;
  readonly modelType: string;
}

function readRope(fields: RopeFields, context: RopeContext): Rope {
  const factor = fields.partial_rotary_factor ?? 1;
  const dims = Math.floor(context.headDim * factor);
  if (dims % 16 !== 0 || dims === 0)
    throw refusal('partial_rotary_factor', factor, `the ${dims} rotated dimensions must be a multiple of 16`);
  return { theta: fields.rope_theta ?? 10_000, dims, scaling: readScaling(fields, dims, context) };
}

function readScaling(fields: RopeFields, dims: number, { hf, modelType }: RopeContext): RopeScaling | null {
  const type = fields.rope_type ?? fields.type ?? 'default';
  const original = fields.original_max_position_embeddings ?? hf.max_position_embeddings;
  const stretch = hf.max_position_embeddings / original;
  // Early Phi-3 files call LongRoPE by these names.
  if (type === 'longrope' || type === 'su' || (modelType === 'phi3' && type === 'yarn'))
    return readLongRope(fields, { dims, original, stretch });
  switch (type) {
    case 'default':
    // Dynamic stretching begins beyond max_position_embeddings, where we end.
    case 'dynamic':
      return null;
    case 'linear':
      return { type, factor: required(fields, 'factor', type) };
    case 'llama3': {
      const low = required(fields, 'low_freq_factor', type);
      const high = required(fields, 'high_freq_factor', type);
      if (high <= low)
        throw refusal('rope_scaling.high_freq_factor', high, `it must be above low_freq_factor = ${low}`);
      const factor = required(fields, 'factor', type);
      return { type, factor, lowFreqFactor: low, highFreqFactor: high, originalMaxPositions: original };
    }
    case 'yarn':
      return readYarn(fields, original, stretch);
    default:
      throw refusal(
        'rope_scaling.rope_type',
        type,
        'supported: default, linear, dynamic (up to max_position_embeddings), llama3, yarn, longrope',
      );
  }
}

function readYarn(fields: RopeFields, original: number, stretch: number): YarnScaling {
  const factor = fields.factor ?? stretch;
  const gain = (scale: number): number => (factor <= 1 ? 1 : 0.1 * scale * Math.log(factor) + 1);
  const { mscale, mscale_all_dim: mscaleAll } = fields;
  const byScales = mscale && mscaleAll ? gain(mscale) / gain(mscaleAll) : gain(1);
  return {
    type: 'yarn',
    factor,
    betaFast: fields.beta_fast ?? 32,
    betaSlow: fields.beta_slow ?? 1,
    truncate: fields.truncate ?? true,
    originalMaxPositions: original,
    attentionFactor: fields.attention_factor ?? byScales,
  };
}

function readLongRope(
  fields: RopeFields,
  { dims, original, stretch }: { dims: number; original: number; stretch: number },
): LongRopeScaling {
  const { short_factor: shortFactors, long_factor: longFactors } = fields;
  for (const [name, list] of Object.entries({ short_factor: shortFactors, long_factor: longFactors })) {
    if (list?.length !== dims / 2)
      throw refusal(`rope_scaling.${name}`, `${list?.length ?? 0} numbers`, `longrope needs ${dims / 2}`);
  }
  const factor = fields.factor ?? stretch;
  const byLength = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original));
  return {
    type: 'longrope',
    shortFactors: shortFactors ?? [],
    longFactors: longFactors ?? [],
    originalMaxPositions: original,
    attentionFactor: fields.attention_factor ?? byLength,
  };
}

function required(fields: RopeFields, name: 'factor' | 'low_freq_factor' | 'high_freq_factor', type: string): number {
  const value = fields[name];
  if (value === undefined || value === null) throw refusal(`rope_scaling.${name}`, 'nothing', `${type} needs it`);
  return value;
}

/** Without what is null or undefined, so that it overrides nothing. */
function defined(fields: { readonly [K in keyof RopeFields]?: RopeFields[K] | undefined }): RopeFields {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null && value !== undefined));
}
