/** Phi-3, 3.5 and 4: Llama with query, key and value in one matrix, gate and up in another. Data only. */
import type { Family } from './family.ts';
import { llama } from './llama.ts';

export const phi3: Family = {
  ...llama,
  name: 'phi3',
  defaults: { original_max_position_embeddings: 4096 },
  qkvBias: false,
  outBias: false,
  slidingLayers: 'all',
  tensors: {
    ...llama.tensors,
    fusedQkv: 'model.layers.{}.self_attn.qkv_proj',
    fusedGateUp: 'model.layers.{}.mlp.gate_up_proj',
  },
};
