/** How large keys and values become while prompts run on the GPU, over a cache that does not round them. Knows no text. */
import type { PlanRow } from '../../engine/step-plan.ts';
import type { ModelConfig } from '../config.ts';
import { floatReader } from '../float-formats.ts';
import { NO_PAIRS, raiseRanges, rotatedPairs } from '../kv-ranges.ts';
import type { CalibrationPrompts } from '../kv-ranges.ts';
import type { Cuda } from '../runtime/cudart.ts';
import type { DeviceWeights } from './device-weights.ts';
import { KvBlocks } from './kv-blocks.ts';
import { PagedDecoder } from './paged-decoder.ts';
import { pagedGraph } from './paged-graph.ts';
import type { FloatType, PagedGraphOptions } from './paged-graph.ts';
import { runRows } from './run-rows.ts';
import type { StepMemory } from './step-memory.ts';

const HALF_BYTES = 2;

export interface Calibrated {
  readonly cuda: Cuda;
  readonly memory: StepMemory;
  readonly weights: DeviceWeights;
}

export interface CalibrationOptions extends PagedGraphOptions {
  readonly prompts: CalibrationPrompts;
  /** Tokens of a step. */
  readonly maxStepTokens: number;
}

/** [layers, 2, kvHeads × headDim]. Prompts are cut to a step. Opens a session of its own and closes it. */
export function measureRangesOnGpu(parts: Calibrated, options: CalibrationOptions): Float32Array {
  const { cuda, memory, weights } = parts;
  const { config, type, blockSize, maxModelLen, maxStepTokens } = options;
  const { layers, kvHeads, headDim } = config;
  const most = Math.min(maxModelLen, maxStepTokens);
  const prompts = options.prompts.read().map((ids) => ids.subarray(0, most));
  const longest = prompts.reduce((length, ids) => Math.max(length, ids.length), 1);
  const shape = { layers, blockSize, kvHeads, headDim, type, blocks: Math.ceil(longest / blockSize) };
  const kv = new KvBlocks(cuda, shape);
  try {
    const decoder = new PagedDecoder({ cuda, memory, kv });
    try {
      decoder.add({ ...pagedGraph({ ...options, kvType: type }, weights), maxRows: options.maxRows });
      const ranges = new Float32Array(2 * layers * kvHeads * headDim);
      const host = cuda.allocatePinned(longest * kvHeads * headDim * HALF_BYTES);
      for (const ids of prompts) {
        runRows([promptRow(ids, blockSize)], { memory, decoder, blockSize, logits: 1 });
        raiseAll(ranges, { cuda, kv, host, config, type, tokens: ids.length });
      }
      return ranges;
    } finally {
      decoder.release();
    }
  } finally {
    kv.free();
  }
}

/** From the first block on. */
function promptRow(ids: Int32Array, blockSize: number): PlanRow {
  const blocks = Int32Array.from({ length: Math.ceil(ids.length / blockSize) }, (_, i) => i);
  return { sequence: 0, blocks, start: 0, ids, draws: 0, sample: null };
}

interface Written {
  readonly cuda: Cuda;
  readonly kv: KvBlocks;
  readonly host: ReturnType<Cuda['allocatePinned']>;
  readonly config: ModelConfig;
  readonly type: FloatType;
  readonly tokens: number;
}

function raiseAll(ranges: Float32Array, { cuda, kv, host, config, type, tokens }: Written): void {
  const { headDim, kvHeads, attention } = config;
  const channels = kvHeads * headDim;
  const read = floatReader(type === 'float16' ? 'F16' : 'BF16');
  const values = new Float32Array(tokens * channels);
  attention.forEach((kind, layer) => {
    // Kernels turn dimension i of a head with i + headDim / 2.
    for (const [offset, pairs] of [rotatedPairs(kind, headDim / 2), NO_PAIRS].entries()) {
      const place = 2 * layer + offset;
      // Blocks that follow each other are [tokens, kvHeads, headDim].
      cuda.toHost(host.pointer, kv.pointer(place), values.length * HALF_BYTES);
      cuda.synchronize();
      read(host.buffer, 0, values);
      raiseRanges(ranges.subarray(place * channels, (place + 1) * channels), values, { headDim, ...pairs });
    }
  });
}
