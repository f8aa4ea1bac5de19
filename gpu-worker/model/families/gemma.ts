/** Gemma 2 and the text models of Gemma 3: norms before and after, scaled embeddings, local layers between global ones. Data only. */
import type { Family } from './family.ts';
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

export const gemma3: Family = {
  ...gemma2,
  name: 'gemma3_text',
  defaults: {
    ...gemma2.defaults,
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
