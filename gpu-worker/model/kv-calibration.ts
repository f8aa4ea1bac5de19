/** How large keys and values become while prompts run on the CPU, from the decoder that will serve. Knows no text. */
import type { ModelConfig } from './config.ts';
import type { CpuDecoder } from './cpu-decoder.ts';
import type { KvCacheDtype } from './device.ts';
import type { CpuKvType } from './graph/cpu-graph.ts';
import { NO_PAIRS, raiseRanges, rangesPath, rememberedRanges, rotatedPairs } from './kv-ranges.ts';
import type { KvRounding } from './kv-ranges.ts';
import { KvSlots } from './kv-slots.ts';
import type { Quantization } from './quantize/scheme.ts';
import { RunBuffers } from './run-buffers.ts';
import { Memory } from './runtime/memory.ts';

const RUN_TOKENS = 256;

/**
 * From so many positions on int8 wins. Qwen2.5-0.5B's shape, int4, two cores, milliseconds of a step over float32 and
 * int8: 22.6 / 22.2 for one sequence at 128 tokens, 106 / 104 for 16; at 1,024 27.9 / 24.0 and 180 / 138; at 4,096 46.0 /
 * 32.9 and 499 / 267; prompts take 2 to 4 % longer in chunks of 256. In the small chunks of a mode that keeps streams
 * going they take up to 20 % longer (16 tokens after 1,900 beside 8 decodes: 139 / 166), which a p99 of ITL shows.
 */
const LEAST_ROUNDED_LEN = 1024;

export interface CpuKvWishes {
  readonly choice: KvCacheDtype;
  readonly quantization: Quantization;
  readonly maxModelLen: number;
  /** Whether steps take as much of a prompt as fits, however long streams wait. */
  readonly fullSteps: boolean;
}

/** auto: int8 where weights are rounded as well, contexts may be long and steps are full. Throws for what only a GPU has. */
export function chooseCpuKvType({ choice, quantization, maxModelLen, fullSteps }: CpuKvWishes): CpuKvType {
  if (choice === 'float32' || choice === 'int8') return choice;
  const pays = quantization !== 'none' && maxModelLen >= LEAST_ROUNDED_LEN && fullSteps;
  if (choice === 'auto') return pays ? 'int8' : 'float32';
  throw new RangeError(`kv-cache-dtype ${choice} is for GPUs: on a CPU take auto, float32 or int8`);
}

/** How a CPU's cache is rounded: `identity` is of the weights and of the layers that are run. */
export function cpuRounding(
  config: ModelConfig,
  { cache, identity, ...how }: Omit<KvRounding, 'path'> & { readonly cache: string | null; readonly identity: string },
): KvRounding {
  return { ...how, path: rangesPath(config, cache, ['cpu', identity, how.prompts.identity]) };
}

/** [layers, 2, kvHeads × headDim]; prompts are cut to `capacity` tokens, the positions that the decoder has. */
export function measureRanges(
  config: ModelConfig,
  decoder: CpuDecoder,
  { prompts, capacity, path, onProgress = () => {} }: KvRounding & { readonly capacity: number },
): Float32Array {
  const channels = config.kvHeads * config.headDim;
  return rememberedRanges(path, 2 * config.layers * channels, () => {
    const ranges = new Float32Array(2 * config.layers * channels);
    const kv = new KvSlots(config, { slots: 1, capacity });
    const buffers = new RunBuffers(config, { maxTokens: RUN_TOKENS, maxRows: 1 });
    const logits = Memory.allocate(1);
    const on = { buffers, kv, logits: logits.pointer, vocabSize: config.vocabSize };
    try {
      const cut = prompts.read().map((ids) => ids.subarray(0, capacity));
      const total = cut.reduce((sum, { length }) => sum + length, 0);
      let done = 0;
      for (const ids of cut) {
        for (let start = 0; start < ids.length; start += RUN_TOKENS) {
          const run = ids.subarray(start, start + RUN_TOKENS);
          decoder.run([{ sequence: 0, blocks: Int32Array.of(0), start, ids: run, draws: 0, sample: null }], on);
          onProgress({ done: (done += run.length), total });
        }
        raiseAll(ranges, { kv, config, tokens: ids.length });
      }
    } finally {
      for (const part of [kv, buffers, logits]) part.free();
    }
    return ranges;
  });
}

function raiseAll(
  ranges: Float32Array,
  { kv, config, tokens }: { kv: KvSlots; config: ModelConfig; tokens: number },
): void {
  const { headDim, kvHeads } = config;
  config.attention.forEach((attention, layer) => {
    for (const [offset, pairs] of [rotatedPairs(attention), NO_PAIRS].entries()) {
      const place = 2 * layer + offset;
      for (let head = 0; head < kvHeads; head++) {
        const first = (place * kvHeads + head) * headDim;
        const rows = kv.floats({ place, slot: 0, from: 0, to: tokens }, head);
        raiseRanges(ranges.subarray(first, first + headDim), rows, { headDim, ...pairs });
      }
    }
  });
}
