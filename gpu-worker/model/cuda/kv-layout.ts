/** Pure: how keys and values lie in GPU memory, in which format, and how many blocks fit. Knows no CUDA. */
import type { ModelConfig } from '../config.ts';
import type { KvCacheDtype } from '../device.ts';
import { ELEMENT_BYTES } from '../runtime/ort-api.ts';
import type { FloatType, KvType } from './paged-graph.ts';

/** Head sizes and query heads per KV head that the XQA decode kernel has over a quantized cache (ONNX Runtime 1.30). */
const XQA_HEAD_SIZES = [64, 128, 256];
const XQA_GROUPS = [4, 6, 8, 16, 32];

/**
 * fp8 where its fast decode kernel takes the shape and the GPU has fp8 (compute capability 8.9): half the bytes, and
 * at batch 256 four times the speed of fp16's decode kernel. Elsewhere it is not to be had: a cache that no kernel reads
 * in place would be expanded before every use, and head size 16 ends in an illegal access (ONNX Runtime 1.30).
 */
export function chooseKvType(
  { heads, kvHeads, headDim }: Pick<ModelConfig, 'heads' | 'kvHeads' | 'headDim'>,
  { choice, type, computeCapability }: { choice: KvCacheDtype; type: FloatType; computeCapability: number },
): KvType {
  if (choice === 'float16') return type;
  const group = heads / kvHeads;
  const fast = XQA_HEAD_SIZES.includes(headDim) && XQA_GROUPS.includes(group);
  if (fast && computeCapability >= 8.9) return 'float8e4m3fn';
  if (choice === 'auto') return type;
  throw new RangeError(
    `an fp8 KV cache needs a head size of ${XQA_HEAD_SIZES.join(', ')} (here ${headDim}), ${XQA_GROUPS.join(', ')} query ` +
      `heads to a KV head (here ${group}) and compute capability 8.9 (here ${computeCapability}): take auto or float16`,
  );
}

/** Smallest block that flash attention reads in place: its key tile must not straddle blocks. */
export function blockSizeFor(headDim: number): number {
  if (headDim <= 64) return 256;
  return headDim <= 128 ? 128 : 64;
}

/** Of one block's keys, or values, in one layer. */
export function blockBytes({ kvHeads, headDim }: ModelConfig, kvType: KvType, blockSize: number): number {
  return blockSize * kvHeads * headDim * ELEMENT_BYTES[kvType];
}

export interface BlockBudget {
  readonly totalBytes: number;
  /** What is free once weights, working memory and CUDA graphs have theirs. */
  readonly freeBytes: number;
  /** Share of the GPU's memory that this process may fill, 0 to 1. */
  readonly utilization: number;
  /** Keys and values of one block in all layers. */
  readonly bytesPerBlock: number;
  readonly blockSize: number;
  readonly maxModelLen: number;
  readonly maxNumSeqs: number;
  /** The operator's own figure, tokens; null = as much as fits. */
  readonly kvCacheTokens: number | null;
}

/** Throws with figures when not even one sequence of `maxModelLen` fits. */
export function blocksThatFit(budget: BlockBudget): number {
  const { totalBytes, freeBytes, utilization, bytesPerBlock, blockSize, maxModelLen, kvCacheTokens } = budget;
  const spare = totalBytes * (1 - utilization);
  const fitting = Math.max(0, Math.floor((freeBytes - spare) / bytesPerBlock));
  const longest = Math.ceil(maxModelLen / blockSize);
  if (fitting < longest) {
    throw new RangeError(
      `GPU memory has room for ${fitting} KV blocks of ${blockSize} tokens, one sequence may need ${longest} ` +
        `(maxModelLen = ${maxModelLen}): ${gibibytes(totalBytes)} GiB in all, ${gibibytes(freeBytes)} free after weights ` +
        `and working memory, of which ${gibibytes(spare)} stay free, ${gibibytes(longest * bytesPerBlock)} needed; lower ` +
        'maxModelLen or maxNumBatchedTokens, raise gpu-memory-utilization if nothing else uses the GPU, or take a smaller model',
    );
  }
  // Every sequence that may run at full length, and as much again for prefixes: more would never be used.
  const most = 2 * longest * budget.maxNumSeqs;
  const asked = kvCacheTokens === null ? most : Math.ceil(kvCacheTokens / blockSize);
  if (asked < longest) {
    throw new RangeError(
      `kvCacheTokens = ${kvCacheTokens} is less than maxModelLen = ${maxModelLen}: raise it or lower maxModelLen`,
    );
  }
  return Math.min(fitting, asked);
}

const gibibytes = (bytes: number): string => (bytes / 2 ** 30).toFixed(1);
