/** A Hugging Face folder's config.json and generation_config.json as a checked ModelConfig. Knows no tensors. */
import * as v from 'valibot';
import { FAMILIES, findFamily } from './families/family.ts';
import type { Family } from './families/family.ts';
import { ModelFolderError, readJson } from './folder.ts';

/** Llama 3.1's stretching of low rotary frequencies. */
export interface Llama3Scaling {
  readonly factor: number;
  readonly lowFreqFactor: number;
  readonly highFreqFactor: number;
  readonly originalMaxPositions: number;
}

export interface ModelConfig {
  readonly family: Family;
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly maxPositions: number;
  readonly normEpsilon: number;
  readonly ropeTheta: number;
  readonly ropeScaling: Llama3Scaling | null;
  /** Biases on the query, key and value projections. */
  readonly qkvBias: boolean;
  readonly tiedEmbeddings: boolean;
  readonly eosIds: readonly number[];
}

const size = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(1 << 24));
const tokenIds = v.nullish(v.union([v.pipe(v.number(), v.integer()), v.array(v.pipe(v.number(), v.integer()))]));
const ropeSchema = v.looseObject({
  rope_type: v.optional(v.string()),
  type: v.optional(v.string()),
  rope_theta: v.optional(v.number()),
  factor: v.optional(v.number()),
  low_freq_factor: v.optional(v.number()),
  high_freq_factor: v.optional(v.number()),
  original_max_position_embeddings: v.optional(v.number()),
});
type Rope = v.InferOutput<typeof ropeSchema>;

const configSchema = v.looseObject({
  model_type: v.string(),
  vocab_size: size,
  hidden_size: size,
  intermediate_size: size,
  num_hidden_layers: size,
  num_attention_heads: size,
  num_key_value_heads: v.optional(size),
  head_dim: v.nullish(size),
  max_position_embeddings: size,
  rms_norm_eps: v.pipe(v.number(), v.minValue(0), v.maxValue(1)),
  rope_theta: v.optional(v.pipe(v.number(), v.minValue(1))),
  rope_scaling: v.nullish(ropeSchema),
  rope_parameters: v.nullish(ropeSchema),
  attention_bias: v.optional(v.boolean()),
  mlp_bias: v.optional(v.boolean()),
  hidden_act: v.optional(v.string()),
  use_sliding_window: v.nullish(v.boolean()),
  tie_word_embeddings: v.optional(v.boolean(), false),
  eos_token_id: tokenIds,
});
type HuggingFaceConfig = v.InferOutput<typeof configSchema>;

const generationSchema = v.looseObject({ eos_token_id: tokenIds });

export function readModelConfig(folder: string): ModelConfig {
  const generation = readJson(folder, 'generation_config.json', false);
  return parseModelConfig(readJson(folder, 'config.json', true), generation);
}

/** The two files' parsed contents; `generation` undefined when the folder has none. */
export function parseModelConfig(config: unknown, generation: unknown): ModelConfig {
  const hf = check('config.json', configSchema, config);
  const family = findFamily(hf.model_type);
  if (family === undefined)
    throw refusal('model_type', hf.model_type, `supported: ${FAMILIES.map(({ name }) => name).join(', ')}`);
  const kvHeads = hf.num_key_value_heads ?? hf.num_attention_heads;
  if (hf.num_attention_heads % kvHeads !== 0) {
    throw refusal('num_key_value_heads', kvHeads, `it must divide num_attention_heads = ${hf.num_attention_heads}`);
  }
  const headDim = hf.head_dim ?? hf.hidden_size / hf.num_attention_heads;
  if (!Number.isInteger(headDim) || headDim % 16 !== 0)
    throw refusal('head_dim', headDim, 'it must be a multiple of 16');
  if (hf.mlp_bias === true) throw refusal('mlp_bias', true, 'only models without it are supported');
  if (hf.hidden_act !== undefined && hf.hidden_act !== 'silu')
    throw refusal('hidden_act', hf.hidden_act, 'supported: silu');
  if (hf.use_sliding_window === true) throw refusal('use_sliding_window', true, 'only full attention is supported');
  const rope = { ...hf.rope_scaling, ...hf.rope_parameters };
  const generated =
    generation === undefined ? undefined : check('generation_config.json', generationSchema, generation);
  return {
    family,
    vocabSize: hf.vocab_size,
    hiddenSize: hf.hidden_size,
    intermediateSize: hf.intermediate_size,
    layers: hf.num_hidden_layers,
    heads: hf.num_attention_heads,
    kvHeads,
    headDim,
    maxPositions: hf.max_position_embeddings,
    normEpsilon: hf.rms_norm_eps,
    ropeTheta: rope.rope_theta ?? hf.rope_theta ?? 10_000,
    ropeScaling: readRopeScaling(rope),
    qkvBias: qkvBias(family, hf),
    tiedEmbeddings: hf.tie_word_embeddings,
    eosIds: [generated?.eos_token_id ?? hf.eos_token_id ?? []].flat(),
  };
}

function qkvBias(family: Family, hf: HuggingFaceConfig): boolean {
  if (family.qkvBias !== 'config') return family.qkvBias;
  // Llama's attention_bias also puts a bias on the output projection.
  if (hf.attention_bias === true) throw refusal('attention_bias', true, `unsupported for model_type ${hf.model_type}`);
  return false;
}

function readRopeScaling(rope: Rope): Llama3Scaling | null {
  const type = rope.rope_type ?? rope.type ?? 'default';
  if (type === 'default') return null;
  if (type !== 'llama3') throw refusal('rope_scaling.rope_type', type, 'supported: default, llama3');
  const { factor, low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings: original } = rope;
  if (factor === undefined || low === undefined || high === undefined || original === undefined || high <= low) {
    throw refusal(
      'rope_scaling',
      JSON.stringify(rope),
      'llama3 needs factor, low_ < high_freq_factor and original_max_position_embeddings',
    );
  }
  return { factor, lowFreqFactor: low, highFreqFactor: high, originalMaxPositions: original };
}

function check<const S extends v.GenericSchema>(file: string, schema: S, value: unknown): v.InferOutput<S> {
  const result = v.safeParse(schema, value);
  if (result.success) return result.output;
  const issue = result.issues[0];
  throw new ModelFolderError(`${file}: ${v.getDotPath(issue) ?? 'document'}: ${issue.message}`);
}

function refusal(field: string, value: unknown, fix: string): ModelFolderError {
  return new ModelFolderError(`config.json: ${field} = ${String(value)} cannot be served; ${fix}`);
}
