/** Llama 2 and 3, and models published in their form (SmolLM, SmolLM2, TinyLlama). Data only. */
import type { Family } from './family.ts';

export const llama: Family = {
  name: 'llama',
  defaults: {},
  nested: false,
  qkvBias: 'config',
  outBias: 'config',
  slidingLayers: 'none',
  normPlusOne: false,
  scaledEmbeddings: false,
  tensors: {
    embedding: 'model.embed_tokens',
    finalNorm: 'model.norm',
    head: 'lm_head',
    attentionNorm: 'model.layers.{}.input_layernorm',
    query: 'model.layers.{}.self_attn.q_proj',
    key: 'model.layers.{}.self_attn.k_proj',
    value: 'model.layers.{}.self_attn.v_proj',
    fusedQkv: null,
    queryNorm: null,
    keyNorm: null,
    attentionOut: 'model.layers.{}.self_attn.o_proj',
    attentionPostNorm: null,
    mlpNorm: 'model.layers.{}.post_attention_layernorm',
    gate: 'model.layers.{}.mlp.gate_proj',
    up: 'model.layers.{}.mlp.up_proj',
    fusedGateUp: null,
    down: 'model.layers.{}.mlp.down_proj',
    mlpPostNorm: null,
  },
};
