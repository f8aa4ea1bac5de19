/** Qwen2 and 2.5: Llama with biases on query, key and value; Qwen3: with norms on query and key instead. Data only. */
import type { Family } from './family.ts';
import { llama } from './llama.ts';

export const qwen2: Family = {
  ...llama,
  name: 'qwen2',
  defaults: { sliding_window: 4096, max_window_layers: 28 },
  qkvBias: true,
  outBias: false,
  slidingLayers: 'optional',
};

export const qwen3: Family = {
  ...llama,
  name: 'qwen3',
  defaults: { ...qwen2.defaults, head_dim: 128 },
  slidingLayers: 'optional',
  tensors: {
    ...llama.tensors,
    queryNorm: 'model.layers.{}.self_attn.q_norm',
    keyNorm: 'model.layers.{}.self_attn.k_norm',
  },
};
