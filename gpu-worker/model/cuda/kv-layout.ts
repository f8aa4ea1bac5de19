/** Pure: how keys and values lie in GPU memory, in which format, and how many blocks fit. Knows no CUDA. */
import type { ModelConfig } from '../config.ts';
import type { KvCacheDtype } from '../device.ts';
import { ELEMENT_BYTES } from '../runtime/ort-api.ts';
import type { FloatType, KvType } from './paged-graph.ts';

/** Head sizes and query heads per KV head that the XQA decode kernel has over a quantized cache (ONNX Runtime 1.30). */
const XQA_HEAD_SIZES = [64, 128, 256];
const XQA_GROUPS = [4, 6, 8, 16, 32];

/** In which a sequence's tokens are rounded. */
type RoundedKvType = Exclude<KvType, FloatType>;
/** Compute capabilities from which those kernels read a format. */
const LEAST_CAPABILITY: Readonly<Record<RoundedKvType, number>> = { float8e4m3fn: 8.9, int8: 8 };
/** Below so many sequences a step is as fast over 16 bits (H200, Llama 3 8B, context 128: 5.10 ms at 1 against 5.18). */
const LEAST_ROUNDED_SEQS = 16;

export interface KvWishes {
  readonly choice: KvCacheDtype;
  /** Of the activations. */
  readonly type: FloatType;
  readonly computeCapability: number;
  /** Sequences that the mode lets run at once. */
  readonly runningSeqs: number;
}

/**
 * auto: fp8, or int8 where the GPU has no fp8, if their fast decode kernel takes the shape and steps are large: half the
 * bytes, and steps that float16's kernel falls behind (H100, 4 layers of Llama 3 8B, 256 rows at 1,024 tokens: 7.76 ms;
 * fp8 2.67, int8 2.76). int8 has half of fp8's error. Other shapes cannot have them: a cache that no kernel reads in place
 * would be expanded before every use, and head size 16 ends in an illegal access (ONNX Runtime 1.30).
 */
export function chooseKvType(
  shape: Pick<ModelConfig, 'heads' | 'kvHeads' | 'headDim' | 'attentionSoftcap'>,
  { choice, type, computeCapability, runningSeqs }: KvWishes,
): KvType {
  if (choice === 'float16') return type;
  if (choice === 'float32') {
    throw new RangeError('kv-cache-dtype float32 is for CPUs: on a GPU take auto, float16, fp8 or int8');
  }
  const misfits = misfitsOf(shape);
  const fits = (format: RoundedKvType): boolean =>
    misfits.length === 0 && computeCapability >= LEAST_CAPABILITY[format];
  if (choice === 'auto') {
    const format = (['float8e4m3fn', 'int8'] as const).find(fits);
    return format !== undefined && runningSeqs >= LEAST_ROUNDED_SEQS ? format : type;
  }
  const format = choice === 'fp8' ? 'float8e4m3fn' : 'int8';
  if (fits(format)) return format;
  const least = `compute capability ${LEAST_CAPABILITY[format]} (here ${computeCapability})`;
  throw new RangeError(`kv-cache-dtype ${choice} needs ${[...misfits, least].join(', and ')}: take auto or float16`);
}

/** What of a model ONNX Runtime's decode kernel over rounded keys and values does not take. */
function misfitsOf({ heads, kvHeads, headDim, attentionSoftcap }: Parameters<typeof chooseKvType>[0]): string[] {
  const group = heads / kvHeads;
  return [
    XQA_HEAD_SIZES.includes(headDim) ? [] : [`a head size of ${XQA_HEAD_SIZES.join(', ')} (here ${headDim})`],
    XQA_GROUPS.includes(group) ? [] : [`${XQA_GROUPS.join(', ')} query heads to a KV head (here ${group})`],
    attentionSoftcap === null ? [] : ['attention without a softcap'],
  ].flat();
}

/** Of the scale of one layer's keys, or values: one for all of fp8, of int8 one for each channel. */
export function kvScaleShape({ kvHeads, headDim }: Pick<ModelConfig, 'kvHeads' | 'headDim'>, kvType: KvType): number[] {
  return kvType === 'int8' ? [kvHeads, 1, headDim] : [1];
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
        `for ${maxModelLen} tokens: ${gibibytes(totalBytes)} GiB in all, ${gibibytes(Math.max(0, freeBytes))} free after ` +
        `weights, working memory and CUDA graphs, of which ${gibibytes(spare)} stay free, ` +
        `${gibibytes(longest * bytesPerBlock)} needed; lower --max-model-len (maxModelLen), --max-num-batched-tokens ` +
        '(maxNumBatchedTokens) or --cuda-graph-memory-mib (cudaGraphMemoryMib), raise --gpu-memory-utilization ' +
        '(memoryUtilization) if nothing else uses the GPU, or take a smaller model',
    );
  }
  // Every sequence that may run at full length, and as much again for prefixes: more would never be used.
  const most = 2 * longest * budget.maxNumSeqs;
  const asked = kvCacheTokens === null ? most : Math.ceil(kvCacheTokens / blockSize);
  if (asked < longest) {
    throw new RangeError(
      `--kv-cache-tokens (kvCacheTokens) is ${kvCacheTokens}: it must be at least ${maxModelLen}, the longest sequence; ` +
        'raise it or lower --max-model-len (maxModelLen)',
    );
  }
  return Math.min(fitting, asked);
}

export const gibibytes = (bytes: number): string => (bytes / 2 ** 30).toFixed(1);
