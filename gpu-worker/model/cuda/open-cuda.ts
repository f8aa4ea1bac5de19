/** Opens a model as a ModelRunner on a GPU: weights, graph, memory as it was measured, KV blocks. Owns no step. */
import type { ModelRunner } from '../../engine/runner.ts';
import { Xoshiro128 } from '../../sample/random.ts';
import { requireGpu } from '../choose-device.ts';
import type { ModelConfig } from '../config.ts';
import type { KvCacheDtype } from '../device.ts';
import { fingerprintOf } from '../fingerprint.ts';
import { fp8Scales, int8Scales, rangesPath, rememberedRanges, spreadPrompt } from '../kv-ranges.ts';
import type { CalibrationPrompts } from '../kv-ranges.ts';
import { Cuda } from '../runtime/cudart.ts';
import { Sampler } from '../sampler.ts';
import type { WeightSource } from '../weights.ts';
import type { BucketLimits } from './buckets.ts';
import { measureRangesOnGpu } from './calibrate.ts';
import type { Calibrated } from './calibrate.ts';
import { CudaRunner } from './cuda-runner.ts';
import { DeviceDraw } from './device-draw.ts';
import { DeviceRules } from './device-rules.ts';
import { deviceBackend } from './device-sampler.ts';
import type { QuantizedSource } from './device-weights.ts';
import { DEFAULT_GRAPH_BYTES, GraphMemory } from './graph-memory.ts';
import { HostDraw } from './host-draw.ts';
import { KvBlocks } from './kv-blocks.ts';
import { chooseProductKernels, roundedKernel, sessionRows } from './kernel-choice.ts';
import { blockBytes, blocksThatFit, blockSizeFor, chooseKvType } from './kv-layout.ts';
import { runLargestSteps } from './largest-steps.ts';
import { loadWeights } from './load-weights.ts';
import { explainedMemory } from './memory-problem.ts';
import { PagedDecoder } from './paged-decoder.ts';
import { isRounded } from './paged-graph.ts';
import type { FloatType, KvType, PagedGraphOptions } from './paged-graph.ts';
import { wordsOfLargestStep } from './plan-inputs.ts';
import type { PartLimits } from './plan-inputs.ts';
import { StepMemory } from './step-memory.ts';

export interface CudaOptions {
  /** Number of the GPU. */
  readonly device?: number;
  readonly maxNumSeqs: number;
  readonly maxModelLen: number;
  readonly maxStepTokens: number;
  /** Tokens of KV cache; null = what the memory allows. */
  readonly kvCacheTokens: number | null;
  /** Share of the GPU's memory that this process may fill; by default 0.9. */
  readonly memoryUtilization?: number;
  /** By default the format that the weights are stored in, float16 where that has more than 16 bits. */
  readonly type?: FloatType | 'auto';
  readonly kv?: KvCacheDtype;
  /** Sequences that the mode lets run at once; by default all. */
  readonly runningSeqs?: number;
  /** Where the scales of a rounded KV cache come from; by default ids from all over the vocabulary. */
  readonly calibration?: CalibrationPrompts;
  /** Folder that remembers what they were measured from; null or left out: nothing is kept. */
  readonly rangesCache?: string | null;
  /** By default none is. Their memory is needed only while this runs. */
  readonly quantized?: QuantizedSource;
  /** Names how weights are rounded, for the fingerprint. */
  readonly quantization?: string;
  /** Bytes of its memory set aside for CUDA graphs of decode steps; 0 = none; by default 512 MiB. */
  readonly graphBytes?: number;
  readonly onProgress?: (progress: { readonly bytes: number; readonly totalBytes: number }) => void;
}

/** Rows of logits at once beyond one for each sequence: verified drafts come in further parts. */
const LEAST_LOGITS = 64;
/** Words of the tokens that a step's rules look at, 3 each: 1,400,000 tokens of all its rows. */
const RULE_WORDS = 1 << 22;
/** Tokens of a quantized cache expanded at once. */
const MAX_EXPANDED = 65_536;

/** Throws with what is missing: no driver, no provider, too little memory. `source` is read completely here. */
export function openCudaRunner(config: ModelConfig, source: WeightSource, options: CudaOptions): ModelRunner {
  refuseNormedPartialRotary(config);
  chooseProductKernels();
  requireGpu();
  const cuda = new Cuda(options.device ?? 0);
  const cleanup: (() => void)[] = [() => cuda.release()];
  const free = (): void => runAll(cleanup.toReversed());
  try {
    return open(config, source, { ...options, cuda, cleanup, free });
  } catch (error) {
    let problem = error;
    try {
      problem = explainedMemory(error, () => cuda.memory());
      free();
    } catch {
      // A lost device cannot free anything either; the first error says more.
    }
    throw problem;
  }
}

/** Though one throws: then the first error is thrown at the end. */
function runAll(steps: readonly (() => void)[]): void {
  const errors: unknown[] = [];
  for (const step of steps) {
    try {
      step();
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw errors[0];
}

/** Head norms come before the reordering that heads turned in part need. */
function refuseNormedPartialRotary({ attention, headDim, family }: ModelConfig): void {
  const partial = attention.some(({ rope }) => rope !== null && rope.dims < headDim);
  if (!partial || family.tensors.queryNorm === null) return;
  throw new RangeError(
    'heads that are normed and rotated in part (partial_rotary_factor) are not served on a GPU: take --device cpu',
  );
}

interface Opening extends CudaOptions {
  readonly cuda: Cuda;
  readonly cleanup: (() => void)[];
  readonly free: () => void;
}

function open(config: ModelConfig, source: WeightSource, opening: Opening): CudaRunner {
  const { cuda, cleanup, maxNumSeqs, maxStepTokens, kvCacheTokens, memoryUtilization = 0.9 } = opening;
  const maxModelLen = Math.min(opening.maxModelLen, config.maxPositions);
  const { vocabSize, eosIds, headDim, layers, kvHeads } = config;
  const blockSize = blockSizeFor(headDim);
  const { type, kvType } = formatsOf(config, source, opening);
  const buckets: BucketLimits = { maxRows: maxNumSeqs, maxWidth: Math.ceil(maxModelLen / blockSize) };
  const maxLogits = Math.max(1, Math.min(maxStepTokens, Math.max(maxNumSeqs, LEAST_LOGITS)));
  const decodesApart = isRounded(kvType);
  const partLimits: PartLimits = { maxDraws: maxLogits, decodesApart, maxExpanded: MAX_EXPANDED, blockSize };
  const words = wordsOfLargestStep({ maxStepTokens, maxNumSeqs, maxWidth: buckets.maxWidth });
  const memory = new StepMemory(cuda, {
    ...{ words, maxLogits, maxDraws: maxStepTokens + maxNumSeqs, vocabSize, ruleWords: RULE_WORDS },
  });
  cleanup.push(() => memory.free());
  const graphOptions = { config, type, kvType, blockSize, words: memory.length, maxModelLen, maxRows: maxNumSeqs };
  const { quantized = () => null, onProgress, quantization = 'none' } = opening;
  const sizes = sessionRows(quantization, maxNumSeqs);
  const { weights, graphs } = loadWeights(cuda, source, { ...graphOptions, onProgress, quantized, sizes });
  const kvShape = { layers, blockSize, kvHeads, headDim, type: kvType };
  if (isRounded(kvType)) weights.setKvScales(kvScales({ cuda, memory, weights }, graphOptions, { opening, source }));
  const probe = new KvBlocks(cuda, { ...kvShape, blocks: 1 });
  const decoder = new PagedDecoder({ cuda, memory, kv: probe });
  cleanup.push(() => decoder.release());
  for (const graph of graphs) decoder.add(graph, roundedKernel(quantization, graph.maxRows));
  const draw = new DeviceDraw(cuda, memory);
  cleanup.push(() => draw.release());
  const rules = new DeviceRules(cuda, memory);
  cleanup.push(() => rules.release());
  const backend = deviceBackend(cuda, memory, rules);
  const hostDraw = new HostDraw(new Sampler({ vocabSize, maxRows: maxLogits, backend }), backend.begin);
  cleanup.push(() => hostDraw.free());
  const steps = { maxNumSeqs, maxStepTokens, maxModelLen, partLimits, buckets };
  runLargestSteps({ cuda, memory, decoder, draw, rules }, steps);
  hostDraw.warmUp(backend.chunkRows);
  const { free: freeBytes, total: totalBytes } = cuda.memory();
  const graphBytes = opening.graphBytes ?? DEFAULT_GRAPH_BYTES;
  const bytesPerBlock = 2 * layers * blockBytes(config, kvType, blockSize);
  const blocks = blocksThatFit({
    ...{ totalBytes, freeBytes: freeBytes - graphBytes, utilization: memoryUtilization, bytesPerBlock, blockSize },
    ...{ maxModelLen, maxNumSeqs, kvCacheTokens },
  });
  const kv = new KvBlocks(cuda, { ...kvShape, blocks });
  decoder.useKv(kv);
  probe.free();
  const limits = { vocabSize, maxModelLen, maxNumSeqs, maxStepTokens };
  const layout = { kind: 'blocks', blocks, blockSize, capacityTokens: blocks * blockSize } as const;
  const formats = [type, quantization, `kv-${kvType}`];
  const fingerprint = fingerprintOf(config, source, { device: 'cuda', formats });
  return new CudaRunner({
    info: { ...limits, kv: layout, kvType, eosIds, fingerprint, gpu: cuda.device },
    ...{ cuda, memory, decoder, draw, rules, hostDraw, kv, partLimits, buckets },
    graphs: new GraphMemory(graphBytes, () => cuda.memory().free),
    random: Xoshiro128.fromEntropy(),
    onDispose: opening.free,
  });
}

/** Of activations, and of keys and values. */
function formatsOf(config: ModelConfig, source: WeightSource, opening: Opening): { type: FloatType; kvType: KvType } {
  const { cuda, type: asked = 'auto', kv: choice = 'auto', runningSeqs = opening.maxNumSeqs } = opening;
  const type = asked === 'auto' ? (source.storedAs ?? 'float16') : asked;
  return {
    type,
    kvType: chooseKvType(config, { choice, type, computeCapability: cuda.computeCapability, runningSeqs }),
  };
}

/** Of a rounded cache, from the file that remembers how large keys and values are, or from the prompts. */
function kvScales(
  parts: Calibrated,
  options: PagedGraphOptions,
  { opening, source }: { opening: Opening; source: WeightSource },
): Float32Array {
  const { config, kvType, type } = options;
  const { maxStepTokens, rangesCache = null, quantization = 'none' } = opening;
  const { calibration: prompts = spreadPrompt(config.vocabSize) } = opening;
  const path = rangesPath(config, rangesCache, ['cuda', source.identity, type, quantization, prompts.identity]);
  const channels = config.kvHeads * config.headDim;
  const measure = () => measureRangesOnGpu(parts, { ...options, prompts, maxStepTokens });
  const ranges = rememberedRanges(path, 2 * config.layers * channels, measure);
  return kvType === 'int8' ? int8Scales(ranges) : fp8Scales(ranges, channels);
}
