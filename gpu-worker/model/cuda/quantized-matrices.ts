/** Rounds a model's matrices for the GPU, as they are rounded for the CPU and from the same cache. Knows no CUDA. */
import type { ModelConfig } from '../config.ts';
import { openWeights } from '../open-weights.ts';
import type { OpenWeightsOptions } from '../open-weights.ts';
import type { Scheme } from '../quantize/scheme.ts';
import { WeightPlan } from '../weight-plan.ts';
import type { QuantizedMatrix, Stack } from '../weight-store.ts';
import { pagedGraph } from './paged-graph.ts';

export interface QuantizedMatrices {
  /** Of layers and head. Embeddings keep 16 bits beside it: one row is read for a token. */
  readonly matrix: (stack: Stack) => QuantizedMatrix;
  readonly free: () => void;
}

export function quantizedMatrices(config: ModelConfig, scheme: Scheme, options: OpenWeightsOptions): QuantizedMatrices {
  const plan = new WeightPlan(scheme);
  const nowhere = { pointer: 0n, type: 'float16', shape: [1] } as const;
  const sizes = { blockSize: 16, words: 1, maxModelLen: 1, maxRows: 1 };
  const settings = { type: 'float16', kvType: 'float16', ...sizes } as const;
  pagedGraph(
    { config, ...settings },
    {
      matrix: () => nowhere,
      transposed: () => nowhere,
      quantized: (stack) => plan.quantized(stack),
      constant: () => nowhere,
      kvScale: () => nowhere,
    },
  );
  const store = openWeights(plan.layout, options);
  return { matrix: (stack) => store.quantized(stack), free: () => store.free() };
}
