/** What the engine thread needs to open a model and run it. Structured-cloneable. */
import type { DeviceChoice, DtypeChoice, KvCacheDtype } from '../model/device.ts';
import type { QuantizationOptions } from '../model/quantize/scheme.ts';
import type { Mode } from './modes.ts';

/** How the engine weighs latency against throughput. */
export interface EnginePolicy {
  readonly mode: Mode;
  readonly prefixCaching: boolean;
  /** What requests may ask for; off refuses none, it only drafts nothing. */
  readonly speculation: 'off' | 'auto';
  /** Objectives in milliseconds; null = the mode's own. */
  readonly ttftMs: number | null;
  readonly itlMs: number | null;
}

export interface EngineOptions extends QuantizationOptions {
  /** A Hugging Face folder. */
  readonly folder: string;
  /** Layers to drop, those that cost least on texts of this file; null = those in the model's folder. */
  readonly pruneLayers?: number;
  readonly pruneCalibration?: string | null;
  /** Folder of quantized weights; null or left out: they are not kept. */
  readonly quantizationCache?: string | null;
  /** Sequences that run at once; null = the device's default. */
  readonly maxNumSeqs: number | null;
  /** Longest prompt + output, tokens; lowered to what the model was made for. */
  readonly maxModelLen: number;
  /** Token budget of a step; null = the device's default. */
  readonly maxNumBatchedTokens: number | null;
  /** Share of the memory that weights and KV cache may take, 0 to 1. */
  readonly memoryUtilization: number;
  /** Tokens of KV cache; null = what the memory allows. */
  readonly kvCacheTokens: number | null;
  /** Threads inside the model. */
  readonly threads: number;
  /** By default the CPU. */
  readonly device?: DeviceChoice;
  /** Number of the GPU, as the driver counts those that this process may see. */
  readonly gpu?: number;
  /** Number format of weights and activations on a GPU; by default as they are stored. */
  readonly dtype?: DtypeChoice;
  /** Number format of keys and values; by default the device's own choice. */
  readonly kvCacheDtype?: KvCacheDtype;
  /** Bytes of a GPU's memory for CUDA graphs; 0 = none. */
  readonly graphBytes?: number;
  readonly policy: EnginePolicy;
}
