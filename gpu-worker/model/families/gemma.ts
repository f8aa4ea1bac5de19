/** Gemma 2, Gemma 3 and the text part of those that see: norms before and after, scaled embeddings, local layers between global ones. Data only. */
import type { Family, TensorNames } from './family.ts';
import { llama } from './llama.ts';

export const gemma2: Family = {
  ...llama,
  name: 'gemma2',
  defaults: {
    head_dim: 256,
    hidden_activation: 'gelu_pytorch_tanh',
    query_pre_attn_scalar: 256,
    attn_logit_softcapping: 50,
    final_logit_softcapping: 30,
    sliding_window: 4096,
    sliding_window_pattern: 2,
    tie_word_embeddings: true,
  },
  slidingLayers: 'pattern',
  normPlusOne: true,
  scaledEmbeddings: true,
  tensors: {
    ...llama.tensors,
    attentionPostNorm: 'model.layers.{}.post_attention_layernorm',
    mlpNorm: 'model.layers.{}.pre_feedforward_layernorm',
    mlpPostNorm: 'model.layers.{}.post_feedforward_layernorm',
  },
};

export const gemma3Text: Family = {
  ...gemma2,
  name: 'gemma3_text',
  // The files of the larger ones give little more than their sizes.
  defaults: {
    ...gemma2.defaults,
    vocab_size: 262_208,
    num_attention_heads: 8,
    num_key_value_heads: 4,
    max_position_embeddings: 131_072,
    attn_logit_softcapping: null,
    final_logit_softcapping: null,
    sliding_window_pattern: 6,
    rope_theta: 1_000_000,
    rope_local_base_freq: 10_000,
  },
  tensors: {
    ...gemma2.tensors,
    queryNorm: 'model.layers.{}.self_attn.q_norm',
    keyNorm: 'model.layers.{}.self_attn.k_norm',
  },
};

export const gemma3: Family = {
  ...gemma3Text,
  name: 'gemma3',
  nested: true,
  tensors: inside('language_model.', gemma3Text.tensors),
};

function inside(prefix: string, names: TensorNames): TensorNames {
  const entries = Object.entries(names).map(([part, name]: [string, string | null]) => {
    return [part, name === null ? null : `${prefix}${name}`];
  });
  return { ...names, ...Object.fromEntries(entries) };
}
