/** Opens a model folder as a ModelRunner; on the CPU: config, weights, graph, session, KV slots. Owns no step. */
import { totalmem } from 'node:os';
import type { ModelRunner } from '../engine/runner.ts';
import { readModelConfig } from './config.ts';
import type { ModelConfig } from './config.ts';
import { expandedBytes, longChunk } from './cpu-attention.ts';
import { CpuDecoder, planWeights } from './cpu-decoder.ts';
import { CpuRunner } from './cpu-runner.ts';
import { kvCapacityTokens } from './kv-budget.ts';
import { chooseCpuKvType, cpuRounding, measureRanges } from './kv-calibration.ts';
import { int8Scales, spreadPrompt } from './kv-ranges.ts';
import type { CalibrationProgress, CalibrationPrompts } from './kv-ranges.ts';
import { kvBytesPerToken, KvSlots } from './kv-slots.ts';
import { chooseDevice } from './choose-device.ts';
import type { DeviceChoice, DtypeChoice, KvCacheDtype } from './device.ts';
import { fingerprintOf } from './fingerprint.ts';
import { openCudaRunner } from './cuda/open-cuda.ts';
import { quantizedMatrices } from './cuda/quantized-matrices.ts';
import { layerSubset, layerSubsetSource, withLayers } from './layer-subset.ts';
import { openWeights } from './open-weights.ts';
import type { FillProgress } from './quantize/fill-all.ts';
import { schemeName, schemeOf } from './quantize/scheme.ts';
import type { QuantizationOptions } from './quantize/scheme.ts';
import { RunBuffers } from './run-buffers.ts';
import { ortLibrary } from './runtime/ort-library.ts';
import { openSafetensors } from './safetensors.ts';
import { Sampler } from './sampler.ts';
import type { WeightSource } from './weights.ts';

export interface RunnerOptions extends QuantizationOptions {
  /** Folder where quantized weights are kept from load to load; null or left out: nowhere. */
  readonly quantizationCache?: string | null;
  /** Numbers of the layers that are run, ascending; null or left out: all. */
  readonly keepLayers?: readonly number[] | null;
  /** Sequences that run at once. */
  readonly maxNumSeqs: number;
  /** KV slots beyond those, where prefixes of finished sequences stay; by default as many. */
  readonly cacheSlots?: number;
  /** Tokens of keys and values that may be held at once; null = as many as memory allows. */
  readonly kvCacheTokens: number | null;
  /** Share of the machine's memory that weights and KV cache may fill; by default 0.9. */
  readonly memoryUtilization?: number;
  /** Lowered to what the model was made for. */
  readonly maxModelLen: number;
  readonly threads: number;
  readonly maxStepTokens: number;
  /** Number format of keys and values; by default auto: the device's own choice. */
  readonly kvCacheDtype?: KvCacheDtype;
  /** Whether the mode fills steps with prompts however long streams wait, by which auto chooses on a CPU; by default not. */
  readonly fullSteps?: boolean;
  /** Where the scales of a rounded KV cache come from; by default ids from all over the vocabulary. */
  readonly calibration?: CalibrationPrompts;
  /** Called while weights are read and rounded; not when they come from the cache. */
  readonly onProgress?: (progress: FillProgress) => void;
  /** Called while a CPU runs the prompts of `calibration`. */
  readonly onCalibration?: (progress: CalibrationProgress) => void;
}

export interface OpenModelOptions extends RunnerOptions {
  /** A Hugging Face folder: config.json and safetensors. */
  readonly folder: string;
  /** By default the CPU. */
  readonly device?: DeviceChoice;
  /** Bytes of the GPU's memory for CUDA graphs; 0 = none. */
  readonly graphBytes?: number;
  /** Number of the GPU. */
  readonly gpu?: number;
  /** Number format of weights and activations on a GPU. */
  readonly dtype?: DtypeChoice;
  /** Sequences that the mode lets run at once, by which a GPU's KV format is chosen; by default maxNumSeqs. */
  readonly runningSeqs?: number;
}

/** Throws `ModelFolderError` when the folder cannot be served; the message says why. */
export function openModel(options: OpenModelOptions): ModelRunner {
  const config = readModelConfig(options.folder);
  const source = openSafetensors(options.folder);
  try {
    return chooseDevice(options.device ?? 'cpu') === 'cuda'
      ? openOnGpu(config, source, options)
      : createRunner(config, source, options);
  } finally {
    source.close();
  }
}

function openOnGpu(whole: ModelConfig, from: WeightSource, options: OpenModelOptions): ModelRunner {
  const {
    keepLayers = null,
    gpu = 0,
    dtype = 'auto',
    kvCacheDtype: kv = 'auto',
    onProgress = () => {},
    quantization,
  } = options;
  const config = keepLayers === null ? whole : withLayers(whole, keepLayers);
  const source = keepLayers === null ? from : layerSubsetSource(from, keepLayers);
  const scheme = schemeOf(options);
  const progress = ({ bytes: doneBytes, totalBytes }: { bytes: number; totalBytes: number }): void =>
    onProgress({ doneBytes, totalBytes });
  const { quantizationCache: cache = null, threads } = options;
  const formats = { type: dtype, kv, rangesCache: cache, quantization: schemeName(scheme) };
  const own = { ...options, ...formats, device: gpu, onProgress: progress };
  if (scheme === null) return openCudaRunner(config, source, own);
  // Layers under other numbers are not those of the folder, whose files the cache is for.
  const folder = keepLayers === null ? options.folder : null;
  const rounded = quantizedMatrices(config, scheme, { source, folder, quantization, cache, threads, onProgress });
  try {
    return openCudaRunner(config, source, { ...own, quantized: rounded.matrix });
  } finally {
    rounded.free();
  }
}

/** The same from any config and weights, which are read completely here; in `folder`, if the source has one. */
export function createRunner(
  whole: ModelConfig,
  source: WeightSource,
  options: RunnerOptions & { folder?: string },
): ModelRunner {
  const { keepLayers = null } = options;
  const config = keepLayers === null ? whole : withLayers(whole, keepLayers);
  const { maxNumSeqs, cacheSlots = maxNumSeqs, threads, maxStepTokens } = options;
  const maxModelLen = Math.min(options.maxModelLen, config.maxPositions);
  requireAtLeast(1, { maxNumSeqs, threads, maxStepTokens, maxModelLen });
  requireAtLeast(0, { cacheSlots });
  const slots = maxNumSeqs + cacheSlots;
  const { vocabSize, eosIds } = config;
  const { kvCacheDtype: choice = 'auto', fullSteps = false } = options;
  const kvType = chooseCpuKvType({ ...options, choice, maxModelLen, fullSteps });
  const cleanup: (() => void)[] = [];
  const free = (): void => cleanup.reverse().forEach((step) => step());
  try {
    const scheme = schemeOf(options);
    const { folder = null, quantization, quantizationCache: cache = null, onProgress = () => {} } = options;
    const from = { source, folder, quantization, cache, threads, onProgress };
    // Of all layers, so that one file in the cache is for every pruning.
    const store = openWeights(planWeights(whole, scheme), from);
    cleanup.push(() => store.free());
    ortLibrary().shareThreads(threads);
    const weights = keepLayers === null ? store : layerSubset(store, keepLayers);
    const decoder = new CpuDecoder(config, weights, { capacity: maxModelLen, kvType, longChunk: longChunk(threads) });
    cleanup.push(() => decoder.release());
    store.settle();
    const bytesPerToken = kvBytesPerToken(config, kvType);
    const weightBytes = store.residentBytes + expandedBytes(config, { capacity: maxModelLen, kvType });
    const sizes = { slots, maxModelLen, bytesPerToken, weightBytes };
    const capacityTokens = capacityOf(options, sizes);
    const layers = keepLayers?.join() ?? 'all';
    const rounding = { ...options, maxModelLen, identity: `${store.identity} ${layers}` };
    const scales = kvType === 'int8' ? scalesOf(config, decoder, rounding) : null;
    const kv = new KvSlots(config, { slots, capacity: maxModelLen, scales });
    cleanup.push(() => kv.free());
    const buffers = new RunBuffers(config, { maxTokens: maxStepTokens, maxRows: maxNumSeqs });
    cleanup.push(() => buffers.free());
    const sampler = new Sampler({ vocabSize, maxRows: maxStepTokens });
    cleanup.push(() => sampler.free());
    const layout = { kind: 'slots', blocks: slots, blockSize: maxModelLen, capacityTokens } as const;
    const formats = [`${schemeName(scheme)} ${layers}`, kvType === 'float32' ? 'kv-f32' : `kv-${kvType}`];
    const fingerprint = fingerprintOf(config, source, { device: 'cpu', formats });
    const limits = { vocabSize, maxModelLen, maxNumSeqs, maxStepTokens };
    const info = { ...limits, kv: layout, kvType, eosIds, fingerprint };
    return new CpuRunner({ info, decoder, buffers, kv, sampler, onDispose: free });
  } catch (error) {
    free();
    throw error;
  }
}

/** Of an int8 cache, remembered beside quantized weights. */
function scalesOf(
  config: ModelConfig,
  decoder: CpuDecoder,
  options: RunnerOptions & { identity: string },
): Float32Array {
  const { quantizationCache: cache = null, identity, maxModelLen: capacity } = options;
  const { calibration: prompts = spreadPrompt(config.vocabSize), onCalibration: onProgress = () => {} } = options;
  const rounding = cpuRounding(config, { prompts, cache, identity, onProgress });
  return int8Scales(measureRanges(config, decoder, { ...rounding, capacity }));
}

function capacityOf(
  { kvCacheTokens, memoryUtilization = 0.9 }: RunnerOptions,
  sizes: { slots: number; maxModelLen: number; bytesPerToken: number; weightBytes: number },
): number {
  // In a container the limit of the machine is not the limit of the process; 0 or more than there is means none.
  const memoryBytes = Math.min(totalmem(), process.constrainedMemory() || Infinity);
  return kvCapacityTokens({ ...sizes, memoryBytes, memoryUtilization, kvCacheTokens });
}

function requireAtLeast(least: number, values: Readonly<Record<string, number>>): void {
  for (const [name, value] of Object.entries(values)) {
    if (!Number.isInteger(value) || value < least)
      throw new RangeError(`${name} = ${value} must be an integer of at least ${least}`);
  }
}
