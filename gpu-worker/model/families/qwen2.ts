/** Qwen2 and Qwen2.5: Llama with biases on query, key and value. Data only. */
import type { Family } from './family.ts';
import { llama } from './llama.ts';

export const qwen2: Family = { name: 'qwen2', qkvBias: true, tensors: llama.tensors };
