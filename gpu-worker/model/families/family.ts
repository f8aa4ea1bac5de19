/** What differs between model families, as data; `model_type` of config.json picks one. Knows no graph. */
import { gemma2, gemma3, gemma3Text } from './gemma.ts';
import { llama } from './llama.ts';
import { mistral } from './mistral.ts';
import { phi3 } from './phi3.ts';
import { qwen2, qwen3 } from './qwen.ts';
import { smollm3 } from './smollm3.ts';

export interface Family {
  readonly name: string;
  /** Fields of config.json where the file leaves them out: a family's files omit what equals its own defaults. */
  readonly defaults: Readonly<Record<string, unknown>>;
  /** The fields are under text_config: the model reads more than text, of which the rest is left out. */
  readonly nested: boolean;
  /** Biases on query, key and value, and on the attention's output: always, never, or as attention_bias says. */
  readonly qkvBias: boolean | 'config';
  readonly outBias: boolean | 'config';
  readonly slidingLayers: SlidingLayers;
  /** Norms multiply by 1 + weight. */
  readonly normPlusOne: boolean;
  /** Embeddings are multiplied by the square root of the hidden size. */
  readonly scaledEmbeddings: boolean;
  readonly tensors: TensorNames;
}

/**
 * Which layers see sliding_window tokens only, when config.json has no layer_types: none; all, given a window; all but
 * every sliding_window_pattern-th; from max_window_layers on where use_sliding_window is set.
 */
export type SlidingLayers = 'none' | 'all' | 'pattern' | 'optional';

/** Names of the weights in the safetensors file; `{}` stands for the layer number. Null = the family has none. */
export interface TensorNames {
  readonly embedding: string;
  readonly finalNorm: string;
  readonly head: string;
  readonly attentionNorm: string;
  readonly query: string;
  readonly key: string;
  readonly value: string;
  /** Query, key and value stored as one matrix, in place of the three. */
  readonly fusedQkv: string | null;
  /** Norms over each head of query and key, before rotation. */
  readonly queryNorm: string | null;
  readonly keyNorm: string | null;
  readonly attentionOut: string;
  /** On the attention's output, before it joins the residual stream. */
  readonly attentionPostNorm: string | null;
  readonly mlpNorm: string;
  readonly gate: string;
  readonly up: string;
  /** Gate and up stored as one matrix, in place of the two. */
  readonly fusedGateUp: string | null;
  readonly down: string;
  /** On the MLP's output, before it joins the residual stream. */
  readonly mlpPostNorm: string | null;
}

export const FAMILIES: readonly Family[] = [llama, mistral, qwen2, qwen3, smollm3, gemma2, gemma3Text, gemma3, phi3];

export function findFamily(modelType: string): Family | undefined {
  return FAMILIES.find((family) => family.name === modelType);
}
