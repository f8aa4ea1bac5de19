/** Models with the shape of real ones and random weights, so that speed can be measured without a download. Knows no benchmark. */
import { createHash } from 'node:crypto';
import type { ModelRunner } from '../../gpu-worker/engine/runner.ts';
import { parseModelConfig } from '../../gpu-worker/model/config.ts';
import { createRunner } from '../../gpu-worker/model/load.ts';
import type { RunnerOptions } from '../../gpu-worker/model/load.ts';
import type { WeightSource } from '../../gpu-worker/model/weights.ts';

/** config.json contents; sizes of Qwen/Qwen2.5-0.5B (494 M parameters), of a 12 M Llama like the embedded model, and of smoke runs. */
export const RANDOM_SHAPES = {
  'qwen2.5-0.5b': {
    model_type: 'qwen2',
    vocab_size: 151_936,
    hidden_size: 896,
    intermediate_size: 4864,
    num_hidden_layers: 24,
    num_attention_heads: 14,
    num_key_value_heads: 2,
    max_position_embeddings: 32_768,
    rms_norm_eps: 1e-6,
    rope_theta: 1_000_000,
    tie_word_embeddings: true,
  },
  'mini-qwen': {
    model_type: 'qwen2',
    vocab_size: 151_936,
    hidden_size: 128,
    intermediate_size: 256,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    num_key_value_heads: 1,
    max_position_embeddings: 2048,
    rms_norm_eps: 1e-6,
    rope_theta: 1_000_000,
    tie_word_embeddings: true,
  },
  'mini-llama': {
    model_type: 'llama',
    vocab_size: 4096,
    hidden_size: 256,
    intermediate_size: 1024,
    num_hidden_layers: 8,
    num_attention_heads: 4,
    num_key_value_heads: 1,
    head_dim: 64,
    max_position_embeddings: 1024,
    rms_norm_eps: 1e-5,
    rope_theta: 10_000,
    tie_word_embeddings: true,
  },
} as const;

export type RandomShape = keyof typeof RANDOM_SHAPES;

export function openRandomModel(shape: RandomShape, options: RunnerOptions): ModelRunner {
  return createRunner(parseModelConfig(RANDOM_SHAPES[shape], undefined), randomWeights(1), options);
}

const FINAL_NORM = 'model.norm.weight';
/**
 * Standard deviation of logits. At 1 the draw would be nearly uniform over the vocabulary, and samplers that look at
 * the likeliest tokens first, as they should, would always take their slow way.
 */
const LOGIT_DEVIATION = 4;

/**
 * Uniform weights that keep activations near unit size; every row of every tensor differs, because ONNX Runtime
 * stores equal weights once, which would flatter a benchmark. A pure function of seed, tensor name and row.
 */
export function randomWeights(seed: number): WeightSource {
  return {
    identity: `random-${seed}-peaked`,
    close: () => {},
    readRows(name, { columns, first }, target) {
      const key = createHash('sha256').update(`${seed} ${name}`).digest().readInt32LE(0);
      const gain = name.includes('norm');
      const scale = gain ? 0.1 : Math.sqrt(3 / Math.max(columns, 16));
      for (let row = first, at = 0; at < target.length; row++)
        at = fillRow(target, { at, columns, key: key + row, scale });
      const mean = name === FINAL_NORM ? LOGIT_DEVIATION : 1;
      if (gain) for (let i = 0; i < target.length; i++) target[i] = mean * (1 + (target[i] ?? 0));
    },
  };
}

interface RandomRow {
  readonly at: number;
  readonly columns: number;
  readonly key: number;
  readonly scale: number;
}

/** A linear congruential generator (Numerical Recipes' constants): its high bits are random enough for weights. */
function fillRow(target: Float32Array, { at, columns, key, scale }: RandomRow): number {
  const factor = scale / 2 ** 31;
  let state = Math.imul(key ^ (key >>> 15), 0x2c1b_3c6d);
  for (let i = 0; i < 2; i++) state = Math.imul(state ^ (state >>> 13), 0x297a_2d39);
  for (let i = at; i < at + columns; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    target[i] = state * factor;
  }
  return at + columns;
}
