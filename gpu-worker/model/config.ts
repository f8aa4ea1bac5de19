/** A Hugging Face folder's config.json and generation_config.json as a checked ModelConfig. Knows no tensors. */
import * as v from 'valibot';
import { checkJson } from './checked-json.ts';
import { FAMILIES, findFamily } from './families/family.ts';
import type { Family } from './families/family.ts';
import { readJson, refusal } from './folder.ts';
import { maxPositionsOf, readRopes, ropeSchema } from './rope-config.ts';
import type { Rope } from './rope-config.ts';

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
  readonly activation: Activation;
  /** Biases on the query, key and value projections. */
  readonly qkvBias: boolean;
  /** Bias on the attention's output projection. */
  readonly outBias: boolean;
  /** Biases on gate, up and down. */
  readonly mlpBias: boolean;
  /** Factor of the products of query and key, before softmax. */
  readonly attentionScale: number;
  /** c × tanh(score / c) of those products; null = none. */
  readonly attentionSoftcap: number | null;
  /** [layers]; layers whose attention works alike share one object. */
  readonly attention: readonly LayerAttention[];
  /** Factor of the embeddings. */
  readonly embeddingScale: number;
  /** c × tanh(logit / c) of the logits; null = none. */
  readonly logitSoftcap: number | null;
  readonly tiedEmbeddings: boolean;
  readonly eosIds: readonly number[];
}

export type Activation = 'silu' | 'gelu-tanh';

/** How the attention of a layer differs from that of other layers. */
export interface LayerAttention {
  /** Tokens that a token sees, itself included; null = all before it. */
  readonly window: number | null;
  /** Null = positions are not encoded. */
  readonly rope: Rope | null;
}

const ACTIVATIONS: Readonly<Record<string, Activation>> = { silu: 'silu', gelu_pytorch_tanh: 'gelu-tanh' };
const MAX_LAYERS = 1024;
/** Of these null says that there is none; other fields are as good as left out. */
const NONE_IF_NULL: ReadonlySet<string> = new Set([
  'sliding_window',
  'attn_logit_softcapping',
  'final_logit_softcapping',
]);

const size = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(1 << 24));
const cap = v.nullish(v.pipe(v.number(), v.minValue(1e-3)));
const tokenIds = v.nullish(v.union([v.pipe(v.number(), v.integer()), v.array(v.pipe(v.number(), v.integer()))]));

const configSchema = v.looseObject({
  ...ropeSchema,
  model_type: v.string(),
  vocab_size: size,
  hidden_size: size,
  intermediate_size: size,
  num_hidden_layers: v.pipe(size, v.maxValue(MAX_LAYERS)),
  num_attention_heads: size,
  num_key_value_heads: v.nullish(size),
  head_dim: v.nullish(size),
  rms_norm_eps: v.optional(v.pipe(v.number(), v.minValue(0), v.maxValue(1)), 1e-6),
  attention_bias: v.optional(v.boolean(), false),
  mlp_bias: v.optional(v.boolean(), false),
  hidden_act: v.optional(v.string()),
  hidden_activation: v.nullish(v.string()),
  query_pre_attn_scalar: v.optional(v.pipe(v.number(), v.minValue(1e-3))),
  attn_logit_softcapping: cap,
  final_logit_softcapping: cap,
  use_bidirectional_attention: v.nullish(v.boolean()),
  layer_types: v.nullish(v.pipe(v.array(v.string()), v.maxLength(MAX_LAYERS))),
  use_sliding_window: v.nullish(v.boolean()),
  sliding_window: v.nullish(size),
  sliding_window_pattern: v.optional(size),
  max_window_layers: v.nullish(v.pipe(v.number(), v.integer(), v.minValue(0))),
  no_rope_layers: v.nullish(v.pipe(v.array(v.number()), v.maxLength(MAX_LAYERS))),
  no_rope_layer_interval: v.optional(size),
  tie_word_embeddings: v.optional(v.boolean(), false),
  eos_token_id: tokenIds,
});
type HuggingFaceConfig = v.InferOutput<typeof configSchema>;

const kindSchema = v.looseObject({
  model_type: v.string(),
  quantization_config: v.nullish(v.looseObject({ quant_method: v.nullish(v.string(), 'unnamed') })),
  text_config: v.nullish(v.looseObject({}), {}),
});
const generationSchema = v.looseObject({ eos_token_id: tokenIds });

/** Throws `ModelFolderError` with the field and what would be accepted. */
export function readModelConfig(folder: string): ModelConfig {
  const generation = readJson(folder, 'generation_config.json', false);
  return parseModelConfig(readJson(folder, 'config.json', true), generation);
}

/** The two files' parsed contents; `generation` undefined when the folder has none. */
export function parseModelConfig(config: unknown, generation: unknown): ModelConfig {
  const kind = checkJson('config.json', kindSchema, config);
  if (kind.quantization_config) refuseQuantized(kind.quantization_config.quant_method);
  const family = findFamily(kind.model_type);
  if (family === undefined)
    throw refusal('model_type', kind.model_type, `supported: ${FAMILIES.map(({ name }) => name).join(', ')}`);
  const hf = checkJson('config.json', configSchema, { ...family.defaults, ...given(fieldsOf(kind, family)) });
  const kvHeads = hf.num_key_value_heads ?? hf.num_attention_heads;
  if (hf.num_attention_heads % kvHeads !== 0)
    throw refusal('num_key_value_heads', kvHeads, `it must divide num_attention_heads = ${hf.num_attention_heads}`);
  const headDim = hf.head_dim ?? hf.hidden_size / hf.num_attention_heads;
  if (!Number.isInteger(headDim) || headDim % 16 !== 0)
    throw refusal('head_dim', headDim, 'it must be a multiple of 16');
  if (hf.use_bidirectional_attention === true)
    throw refusal('use_bidirectional_attention', true, 'only models that generate text are supported');
  const ropes = readRopes(hf, headDim, family.name);
  const maxPositions = maxPositionsOf(hf, ropes.full);
  const generated =
    generation === undefined ? undefined : checkJson('generation_config.json', generationSchema, generation);
  return {
    family,
    vocabSize: hf.vocab_size,
    hiddenSize: hf.hidden_size,
    intermediateSize: hf.intermediate_size,
    layers: hf.num_hidden_layers,
    heads: hf.num_attention_heads,
    kvHeads,
    headDim,
    maxPositions,
    normEpsilon: hf.rms_norm_eps,
    activation: readActivation(hf),
    qkvBias: family.qkvBias === 'config' ? hf.attention_bias : family.qkvBias,
    outBias: family.outBias === 'config' ? hf.attention_bias : family.outBias,
    mlpBias: hf.mlp_bias,
    attentionScale: (hf.query_pre_attn_scalar ?? headDim) ** -0.5,
    attentionSoftcap: hf.attn_logit_softcapping ?? null,
    attention: readAttention(hf, family, { ropes, maxPositions }),
    embeddingScale: family.scaledEmbeddings ? Math.sqrt(hf.hidden_size) : 1,
    logitSoftcap: hf.final_logit_softcapping ?? null,
    tiedEmbeddings: hf.tie_word_embeddings,
    eosIds: readEosIds([generated?.eos_token_id, hf.eos_token_id], hf.vocab_size),
  };
}

function fieldsOf(kind: v.InferOutput<typeof kindSchema>, { nested }: Family): Record<string, unknown> {
  if (!nested) return kind;
  const { text_config: text, ...whole } = kind;
  return { ...text, model_type: whole.model_type, eos_token_id: whole['eos_token_id'] ?? text['eos_token_id'] };
}

/** Of the first place that names any that can be drawn. */
function readEosIds(places: readonly (number | readonly number[] | null | undefined)[], vocabSize: number): number[] {
  const lists = places.map((ids) => [ids ?? []].flat().filter((id) => id >= 0 && id < vocabSize));
  return lists.find(({ length }) => length > 0) ?? [];
}

/** Without the nulls that say nothing. */
function given(fields: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(fields).filter(([name, value]) => value !== null || NONE_IF_NULL.has(name)));
}

function refuseQuantized(method: string): never {
  throw refusal(
    'quantization_config.quant_method',
    method,
    'give the checkpoint it was made from, in bf16, fp16 or fp32; it is quantized here when it loads (--quantization int4 or int8)',
  );
}

function readActivation(hf: HuggingFaceConfig): Activation {
  const name = hf.hidden_activation ?? hf.hidden_act ?? 'silu';
  const activation = Object.hasOwn(ACTIVATIONS, name) ? ACTIVATIONS[name] : undefined;
  if (activation === undefined) throw refusal('hidden_act', name, `supported: ${Object.keys(ACTIVATIONS).join(', ')}`);
  return activation;
}

function readAttention(
  hf: HuggingFaceConfig,
  family: Family,
  { ropes, maxPositions }: { ropes: { full: Rope; sliding: Rope }; maxPositions: number },
): readonly LayerAttention[] {
  const { num_hidden_layers: layers, no_rope_layers: listed, no_rope_layer_interval: interval } = hf;
  for (const [name, list] of Object.entries({ layer_types: hf.layer_types, no_rope_layers: listed })) {
    if (list && list.length < layers) throw refusal(name, `${list.length} entries`, `it must name ${layers} layers`);
  }
  const kinds = new Map<string, LayerAttention>();
  return Array.from({ length: layers }, (_, layer) => {
    const slides = isSliding(hf, family, layer);
    const rotates = listed ? listed[layer] !== 0 : interval === undefined || (layer + 1) % interval !== 0;
    const key = `${slides} ${rotates}`;
    const made = kinds.get(key);
    if (made !== undefined) return made;
    const window = slides && (hf.sliding_window ?? Infinity) < maxPositions ? (hf.sliding_window ?? null) : null;
    const kind = { window, rope: rotates ? (slides ? ropes.sliding : ropes.full) : null };
    kinds.set(key, kind);
    return kind;
  });
}

function isSliding(hf: HuggingFaceConfig, { slidingLayers }: Family, layer: number): boolean {
  if (slidingLayers === 'none') return false;
  if (slidingLayers === 'all') return true;
  if (slidingLayers === 'optional' && hf.use_sliding_window !== true) return false;
  const type = hf.layer_types?.[layer];
  if (type !== undefined) {
    if (type === 'sliding_attention' || type === 'full_attention') return type === 'sliding_attention';
    throw refusal(`layer_types.${layer}`, type, 'supported: full_attention, sliding_attention');
  }
  if (slidingLayers === 'pattern') return (layer + 1) % (hf.sliding_window_pattern ?? 1) !== 0;
  if (typeof hf.max_window_layers !== 'number')
    throw refusal('use_sliding_window', true, 'layer_types must name the layers it is for');
  return layer >= hf.max_window_layers;
}
