/** SmolLM3: Llama without rotation in every fourth layer. Data only. */
import type { Family } from './family.ts';
import { llama } from './llama.ts';

export const smollm3: Family = {
  ...llama,
  name: 'smollm3',
  defaults: { no_rope_layer_interval: 4, tie_word_embeddings: true },
  slidingLayers: 'optional',
};
