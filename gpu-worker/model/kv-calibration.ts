/** How large keys and values become while prompts run on the CPU, from the decoder that will serve. Knows no text. */
import { createHash } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { ModelConfig } from './config.ts';
import type { CpuDecoder } from './cpu-decoder.ts';
import type { KvCacheDtype } from './device.ts';
import type { CpuKvType } from './graph/cpu-graph.ts';
import { raiseRanges, rememberedRanges, rotatedPairs } from './kv-ranges.ts';
import { KvSlots } from './kv-slots.ts';
import { contentHash } from './quantize/content-hash.ts';
import { RunBuffers } from './run-buffers.ts';
import { Memory } from './runtime/memory.ts';

/** What the scales of a rounded cache are measured on. */
export interface CalibrationPrompts {
  /** Another one where other prompts would be tokenized. */
  readonly identity: string;
  /** Token ids of each prompt; called only where nothing is remembered. */
  readonly read: () => readonly Int32Array[];
}

/** How the scales of a rounded cache are found. */
export interface KvRounding {
  readonly prompts: CalibrationPrompts;
  /** Where ranges are remembered; null = nowhere. */
  readonly path: string | null;
}

/** Where ranges are remembered: a model's folder, and the folder of what is computed from models; null = nowhere. */
export interface RangesPlace {
  readonly folder: string | null;
  readonly cache: string | null;
  /** Names whatever else they depend on: device, number formats, layers, prompts. */
  readonly parts: readonly string[];
}

/** A CPU rounds keys and values where it is asked to. Throws for what only a GPU has. */
export function chooseCpuKvType(choice: KvCacheDtype): CpuKvType {
  if (choice === 'int8') return 'int8';
  if (choice === 'auto' || choice === 'float32') return 'float32';
  throw new RangeError(`kv-cache-dtype ${choice} is for GPUs: on a CPU take auto, float32 or int8`);
}

const RUN_TOKENS = 256;
const SPREAD_TOKENS = 128;

/** For a model without a tokenizer: ids from all over the vocabulary. */
export function spreadPrompt(vocabSize: number): CalibrationPrompts {
  const ids = Int32Array.from({ length: SPREAD_TOKENS }, (_, i) => Math.floor(((i + 0.5) * vocabSize) / SPREAD_TOKENS));
  return { identity: 'spread', read: () => [ids] };
}

/** Null where there is no place, or none that can be written. */
export function rangesPath(config: ModelConfig, { folder, cache, parts }: RangesPlace): string | null {
  if (folder === null || cache === null) return null;
  try {
    mkdirSync(cache, { recursive: true, mode: 0o700 });
    const hash = createHash('sha256')
      .update(contentHash(folder, cache))
      .update(JSON.stringify([config, ...parts]));
    return join(cache, `${hash.digest('hex').slice(0, 40)}.kv-ranges`);
  } catch (error) {
    process.emitWarning(`scales of the KV cache are not kept in ${cache}: ${String(error)}`);
    return null;
  }
}

/** [layers, 2, kvHeads × headDim]; prompts are cut to `capacity` tokens, the positions that the decoder has. */
export function measureRanges(
  config: ModelConfig,
  decoder: CpuDecoder,
  { prompts, capacity, path }: KvRounding & { readonly capacity: number },
): Float32Array {
  const channels = config.kvHeads * config.headDim;
  return rememberedRanges(path, 2 * config.layers * channels, () => {
    const ranges = new Float32Array(2 * config.layers * channels);
    const kv = new KvSlots(config, { slots: 1, capacity });
    const buffers = new RunBuffers(config, { maxTokens: RUN_TOKENS, maxRows: 1 });
    const logits = Memory.allocate(1);
    const on = { buffers, kv, logits: logits.pointer, vocabSize: config.vocabSize };
    try {
      for (const prompt of prompts.read()) {
        const ids = prompt.subarray(0, capacity);
        for (let start = 0; start < ids.length; start += RUN_TOKENS) {
          const run = ids.subarray(start, start + RUN_TOKENS);
          decoder.run([{ sequence: 0, blocks: Int32Array.of(0), start, ids: run, draws: 0, sample: null }], on);
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
    for (const [offset, pairs] of [rotatedPairs(attention), { count: 0, apart: 0 }].entries()) {
      const place = 2 * layer + offset;
      for (let head = 0; head < kvHeads; head++) {
        const first = (place * kvHeads + head) * headDim;
        const rows = kv.floats({ place, slot: 0, from: 0, to: tokens }, head);
        raiseRanges(ranges.subarray(first, first + headDim), rows, pairs);
      }
    }
  });
}
