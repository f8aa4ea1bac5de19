/** The least time that a decode step can take: bytes that must be read, operations that must be done. Pure. */
import type { ModelConfig } from '../../../gpu-worker/model/config.ts';

/** Best rates measured on one H200: a large copy counted both ways, a large bf16 matrix product. */
export const H200 = { bytesPerSecond: 4.3e12, flops: 783e12 };

/** Of one weight of a layer or the head, rounded ones with their float16 scale for every 32. */
const WEIGHT_BYTES = { none: 2, int8: 1 + 2 / 32, int4: 0.5 + 2 / 32 } as const;

export interface StepSize {
  readonly weights: keyof typeof WEIGHT_BYTES;
  readonly batch: number;
  readonly context: number;
  /** Bytes of a stored key or value element. */
  readonly kvBytes: number;
}

/** Milliseconds. */
export function decodeFloorMs(
  config: ModelConfig,
  { batch, context, kvBytes, weights: format }: StepSize,
  rates = H200,
): number {
  const { layers, hiddenSize, intermediateSize, heads, kvHeads, headDim, vocabSize } = config;
  const perLayer = hiddenSize * (2 * heads + 2 * kvHeads) * headDim + 3 * hiddenSize * intermediateSize;
  const weights = layers * perLayer + hiddenSize * vocabSize;
  const kv = batch * context * layers * 2 * kvHeads * headDim * kvBytes;
  return (
    Math.max((WEIGHT_BYTES[format] * weights + kv) / rates.bytesPerSecond, (2 * weights * batch) / rates.flops) * 1000
  );
}
