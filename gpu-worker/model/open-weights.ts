/** Weights for a layout, from the cache where it has them, read and rounded by all threads where not. Knows no graph. */
import { createHash } from 'node:crypto';
import { fillAll } from './quantize/fill-all.ts';
import type { FillProgress } from './quantize/fill-all.ts';
import type { Quantization } from './quantize/scheme.ts';
import { WeightCache } from './quantize/weight-cache.ts';
import type { MappedWeights } from './quantize/weight-file.ts';
import { Memory } from './runtime/memory.ts';
import { StoredWeights } from './stored-weights.ts';
import type { WeightLayout } from './weight-plan.ts';
import type { WeightSource } from './weights.ts';

export interface OpenWeightsOptions {
  readonly source: WeightSource;
  /** The Hugging Face folder that `source` reads; null = it reads none, so nothing is cached and one thread works. */
  readonly folder: string | null;
  readonly quantization: Quantization;
  /** Folder of quantized weights; null = none. */
  readonly cache: string | null;
  readonly threads: number;
  readonly onProgress: (progress: FillProgress) => void;
}

/** Float32 weights are not cached: reading them again is nearly as fast. */
export function openWeights(layout: WeightLayout, options: OpenWeightsOptions): StoredWeights {
  const { quantization, cache, folder, source } = options;
  const identity = `${source.identity} ${layoutHash(layout)}`;
  const mapped =
    cache === null || folder === null || quantization === 'none' ? null : cached(layout, { ...options, cache, folder });
  if (mapped !== null) return new StoredWeights({ layout, quantization, identity, ...mapped, fromFile: true });
  const memory = Memory.allocate(Math.max(1, layout.bytes));
  try {
    const { pointer, bytes } = memory;
    fillAll(layout, memory.buffer, { ...options, target: { type: 'memory', pointer, bytes } });
  } catch (error) {
    memory.free();
    throw error;
  }
  return new StoredWeights({ layout, quantization, identity, memory, start: 0, fromFile: false });
}

function layoutHash({ stacks }: WeightLayout): string {
  return createHash('sha256').update(JSON.stringify(stacks)).digest('hex').slice(0, 16);
}

/** Null, with a warning, when the cache cannot be used. */
function cached(
  layout: WeightLayout,
  options: OpenWeightsOptions & { cache: string; folder: string },
): MappedWeights | null {
  try {
    const cache = new WeightCache(options.cache);
    const key = cache.keyOf(options.folder, layout);
    return (
      cache.find(key, layout) ??
      cache.make(key, layout, (descriptor, start) => {
        fillAll(layout, null, { ...options, target: { type: 'file', descriptor, start } });
      })
    );
  } catch (error) {
    if (!isSystemError(error)) throw error;
    process.emitWarning(`quantized weights are not cached in ${options.cache}: ${error.message}`);
    return null;
  }
}

function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error;
}
