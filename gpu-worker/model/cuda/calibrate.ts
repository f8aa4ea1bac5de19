/** How large keys and values become while prompts run on the GPU, over a cache that does not round them. Knows no text. */
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
import { layoutOf, packPart } from './plan-inputs.ts';
import type { Part } from './plan-inputs.ts';
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
    const decoder = new PagedDecoder(pagedGraph({ ...options, kvType: type }, weights), { cuda, memory, kv });
    try {
      const ranges = new Float32Array(2 * layers * kvHeads * headDim);
      const host = cuda.allocatePinned(longest * kvHeads * headDim * HALF_BYTES);
      for (const ids of prompts) {
        runPrompt(ids, { memory, decoder, blockSize });
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
function runPrompt(
  ids: Int32Array,
  { memory, decoder, blockSize }: { memory: StepMemory; decoder: PagedDecoder; blockSize: number },
): void {
  const slot = memory.slots[0];
  if (slot === undefined) return;
  const tokens = ids.length;
  const width = Math.ceil(tokens / blockSize);
  const blocks = Int32Array.from({ length: width }, (_, i) => i);
  const rows = [{ sequence: 0, blocks, start: 0, ids, draws: 0, sample: null }];
  const part: Part = {
    ...{ rows: [0], tokens, draws: 0, width, decode: false },
    longestRow: tokens,
    longestTotal: tokens,
  };
  const shape = { tokens, sequences: 1, width, logits: 1 };
  const layout = layoutOf(shape, 0);
  const { maxDraws: drawn } = memory.sizes;
  packPart(rows, part, { words: slot.words, layout, shape, blockSize, drawn, previous: new Map() });
  memory.send(slot, layout.end);
  decoder.run(shape, layout, part);
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
