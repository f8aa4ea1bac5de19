/** Rounds the matrices of a model's layers for the GPU, as they are rounded for the CPU and from the same cache. Knows no CUDA. */
import type { ModelConfig } from '../config.ts';
import { openWeights } from '../open-weights.ts';
import type { OpenWeightsOptions } from '../open-weights.ts';
import type { Scheme } from '../quantize/scheme.ts';
import { WeightPlan } from '../weight-plan.ts';
import type { QuantizedMatrix, Stack } from '../weight-store.ts';
import { pagedGraph } from './paged-graph.ts';

export interface QuantizedLayers {
  /** Null for what keeps 16 bits: embeddings and head, where rounding costs most and few bytes are read for a token. */
  readonly matrix: (stack: Stack) => QuantizedMatrix | null;
  readonly free: () => void;
}

const isOfLayer = ({ name }: Stack): boolean => name.includes('.layers.');

export function quantizedLayers(config: ModelConfig, scheme: Scheme, options: OpenWeightsOptions): QuantizedLayers {
  const plan = new WeightPlan(scheme);
  const nowhere = { pointer: 0n, type: 'float16', shape: [1] } as const;
  const settings = { type: 'float16', kvType: 'float16', blockSize: 16, words: 1, maxModelLen: 1 } as const;
  pagedGraph(
    { config, ...settings },
    {
      matrix: () => nowhere,
      quantized: (stack) => (isOfLayer(stack) ? plan.quantized(stack) : null),
      constant: () => nowhere,
      kvScale: () => nowhere,
    },
  );
  const store = openWeights(plan.layout, options);
  return { matrix: (stack) => (isOfLayer(stack) ? store.quantized(stack) : null), free: () => store.free() };
}
