/** What differs between model families, as data; `model_type` of config.json picks one. Knows no graph. */
import { llama } from './llama.ts';
import { qwen2 } from './qwen2.ts';

export interface Family {
  readonly name: string;
  /** Biases on query, key and value: always, never, or as config.json's attention_bias says. */
  readonly qkvBias: boolean | 'config';
  readonly tensors: TensorNames;
}

/** Names of the weights in the safetensors file; `{}` stands for the layer number. */
export interface TensorNames {
  readonly embedding: string;
  readonly finalNorm: string;
  readonly head: string;
  readonly attentionNorm: string;
  readonly query: string;
  readonly key: string;
  readonly value: string;
  readonly attentionOut: string;
  readonly mlpNorm: string;
  readonly gate: string;
  readonly up: string;
  readonly down: string;
}

export const FAMILIES: readonly Family[] = [llama, qwen2];

export function findFamily(modelType: string): Family | undefined {
  return FAMILIES.find((family) => family.name === modelType);
}
