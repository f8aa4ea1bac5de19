/**
 * How large keys and values become, and the scales of a rounded cache that follow from it. Pure, but for the file that
 * remembers what was measured. Knows no model run.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { keepFile } from './cache-file.ts';
import type { LayerAttention, ModelConfig } from './config.ts';

/** Room above the largest value seen, for prompts yet to come; what is larger still is stored as the largest there is. */
const INT8_MARGIN = 1.25;
const LARGEST_INT8 = 127;
/** A float's relative error does not depend on its scale: there is room for both saturation and underflow. */
const FP8_MARGIN = 4;
/** The largest float8e4m3fn. */
const LARGEST_FP8 = 448;
const DIGEST_BYTES = 32;
const SPREAD_TOKENS = 128;

/** What the scales of a rounded cache are measured on. */
export interface CalibrationPrompts {
  /** Another one where other prompts would be tokenized. */
  readonly identity: string;
  /** Token ids of each prompt; called only where nothing is remembered. */
  readonly read: () => readonly Int32Array[];
}

/** Prompt tokens run so far, and in all. */
export interface CalibrationProgress {
  readonly done: number;
  readonly total: number;
}

/** How the scales of a rounded cache are found. */
export interface KvRounding {
  readonly prompts: CalibrationPrompts;
  /** Called while they are run; not when the scales are remembered. */
  readonly onProgress?: (progress: CalibrationProgress) => void;
  /** Where ranges are remembered; null = nowhere. */
  readonly path: string | null;
}

/** For a model without a tokenizer: ids from all over the vocabulary. */
export function spreadPrompt(vocabSize: number): CalibrationPrompts {
  const ids = Int32Array.from({ length: SPREAD_TOKENS }, (_, i) => Math.floor(((i + 0.5) * vocabSize) / SPREAD_TOKENS));
  return { identity: 'spread', read: () => [ids] };
}

/** Dimensions i and i + apart turn together, for i below `count`. */
export interface Pairs {
  readonly count: number;
  readonly apart: number;
}

/** Of keys as they lie in a cache: those that turn are first in a head, and `apart` from each other. */
export function rotatedPairs({ rope }: LayerAttention, apart = (rope?.dims ?? 0) / 2): Pairs {
  return { count: (rope?.dims ?? 0) / 2, apart };
}

/** Of values, and of keys that do not turn. */
export const NO_PAIRS: Pairs = { count: 0, apart: 0 };

/**
 * Raises `ranges` [heads × headDim] to the largest |value| of each channel in `rows` [tokens, heads × headDim]. Of a pair
 * that turns with the position either may become as large as both together are.
 */
export function raiseRanges(
  ranges: Float32Array,
  rows: Float32Array,
  heads: Pairs & { readonly headDim: number },
): void {
  const { headDim, count, apart } = heads;
  for (let row = 0; row < rows.length; row += ranges.length) {
    for (let i = 0; i < ranges.length; i++) ranges[i] = Math.max(ranges[i] ?? 0, Math.abs(rows[row + i] ?? 0));
    for (let head = 0; head < ranges.length; head += headDim) {
      for (let i = head; i < head + count; i++) {
        const both = Math.sqrt((rows[row + i] ?? 0) ** 2 + (rows[row + i + apart] ?? 0) ** 2);
        ranges[i] = Math.max(ranges[i] ?? 0, both);
        ranges[i + apart] = Math.max(ranges[i + apart] ?? 0, both);
      }
    }
  }
}

/** One for each range. A channel that was always zero is stored as it is. */
export function int8Scales(ranges: Float32Array): Float32Array {
  return ranges.map((range) => (range === 0 ? 1 : (range * INT8_MARGIN) / LARGEST_INT8));
}

/** One for each `channels` ranges that follow each other. */
export function fp8Scales(ranges: Float32Array, channels: number): Float32Array {
  return Float32Array.from({ length: ranges.length / channels }, (_, place) => {
    const largest = ranges.subarray(place * channels, (place + 1) * channels).reduce((a, b) => Math.max(a, b), 0);
    return largest === 0 ? 1 : (largest * FP8_MARGIN) / LARGEST_FP8;
  });
}

/** The file in `cache` for a model's ranges; null without one. `parts`: weights, device, formats, layers and prompts. */
export function rangesPath(config: ModelConfig, cache: string | null, parts: readonly string[]): string | null {
  if (cache === null) return null;
  const hash = createHash('sha256').update(JSON.stringify([config, ...parts]));
  return join(cache, `${hash.digest('hex').slice(0, 40)}.kv-ranges`);
}

/** What the file at `path` holds if it is sound, else what `measure` finds, which is written there; null = no file. */
export function rememberedRanges(path: string | null, length: number, measure: () => Float32Array): Float32Array {
  const known = path === null ? null : readRanges(path, length);
  if (known !== null) return known;
  const ranges = measure();
  if (path !== null) writeRanges(path, ranges);
  return ranges;
}

function readRanges(path: string, length: number): Float32Array | null {
  try {
    const file = readFileSync(path);
    const values = file.subarray(DIGEST_BYTES);
    if (values.length !== length * Float32Array.BYTES_PER_ELEMENT) return null;
    if (!digest(values).equals(file.subarray(0, DIGEST_BYTES))) return null;
    return new Float32Array(Uint8Array.from(values).buffer);
  } catch {
    return null;
  }
}

function writeRanges(path: string, ranges: Float32Array): void {
  const values = new Uint8Array(ranges.buffer, ranges.byteOffset, ranges.byteLength);
  keepFile(path, Buffer.concat([digest(values), values]), 'scales of the KV cache are not kept');
}

const digest = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest();
