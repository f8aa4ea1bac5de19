/** Mistral: Llama whose layers may all have a sliding window. Data only. */
import type { Family } from './family.ts';
import { llama } from './llama.ts';

export const mistral: Family = {
  ...llama,
  name: 'mistral',
  // An absent window is 4,096 tokens, a null one is none.
  defaults: { sliding_window: 4096 },
  qkvBias: false,
  outBias: false,
  slidingLayers: 'all',
};
