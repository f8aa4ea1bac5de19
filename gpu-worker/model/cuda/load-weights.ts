/** Brings what a model's graphs ask for into GPU memory, and refuses beforehand what does not fit. Knows no sessions. */
import type { Cuda } from '../runtime/cudart.ts';
import { rowsOf } from '../weight-plan.ts';
import type { WeightSource } from '../weights.ts';
import { DeviceWeights } from './device-weights.ts';
import type { QuantizedSource } from './device-weights.ts';
import { kvScaleShape } from './kv-layout.ts';
import type { SizedGraph } from './paged-decoder.ts';
import { pagedGraph } from './paged-graph.ts';
import type { PagedGraphOptions, PagedWeights } from './paged-graph.ts';

export interface Loading extends PagedGraphOptions {
  readonly onProgress: ((progress: { readonly bytes: number; readonly totalBytes: number }) => void) | undefined;
  readonly quantized: QuantizedSource;
  /** The most rows of each session's decode steps: there is a graph for each, and one copy of the weights. */
  readonly sizes: readonly number[];
}

export interface Loaded {
  readonly weights: DeviceWeights;
  readonly graphs: readonly SizedGraph[];
}

/** Reads the source completely. */
export function loadWeights(
  cuda: Cuda,
  source: WeightSource,
  { onProgress = () => {}, quantized, sizes, ...options }: Loading,
): Loaded {
  const { totalBytes, scratchBytes } = plannedBytes(options, quantized, sizes);
  const { free } = cuda.memory();
  const needed = totalBytes + scratchBytes;
  if (needed > free) {
    const gigabytes = (bytes: number): string => (bytes / 1e9).toFixed(1);
    throw new RangeError(
      `the weights need ${gigabytes(needed)} GB of GPU memory while they are loaded, ${gigabytes(free)} GB are free: ` +
        'take a smaller model or a larger GPU',
    );
  }
  const { config, kvType } = options;
  const progress = (bytes: number): void => onProgress({ bytes, totalBytes });
  const form = { type: options.type, layers: config.layers, kvScaleShape: kvScaleShape(config, kvType) };
  const weights = new DeviceWeights(cuda, source, { ...form, onProgress: progress, quantized });
  const graphs = sizes.map((maxRows) => ({ ...pagedGraph({ ...options, maxRows }, weights), maxRows }));
  // Sessions that lay rounded weights out anew do so on a stream of their own.
  cuda.synchronize();
  return { weights, graphs };
}

interface PlannedBytes {
  readonly totalBytes: number;
  /** Of the largest matrix that is transposed. */
  readonly scratchBytes: number;
}

/** What the graphs will ask for, without reading it. */
function plannedBytes(options: PagedGraphOptions, quantized: QuantizedSource, sizes: readonly number[]): PlannedBytes {
  const bytesOf = new Map<string, number>();
  let scratchBytes = 0;
  const note = (name: string, shape: readonly number[], bytes = 2) => {
    const size = shape.reduce((product, each) => product * each, bytes);
    bytesOf.set(name, size);
    return { pointer: 0n, type: options.type, shape };
  };
  const planning: PagedWeights = {
    matrix: (stack) => note(stack.name, [rowsOf(stack), stack.columns]),
    transposed: (stack) => {
      const name = `${stack.name}.transposed`;
      const view = note(name, [stack.columns, rowsOf(stack)]);
      scratchBytes = Math.max(scratchBytes, bytesOf.get(name) ?? 0);
      return view;
    },
    quantized: (stack) => {
      const matrix = quantized(stack);
      if (matrix === null) return null;
      const { packed, scales, zeroPoints } = matrix;
      note(`${stack.name}.codes`, packed.shape, 1);
      note(`${stack.name}.scales`, scales.shape);
      if (zeroPoints !== null) note(`${stack.name}.zero_points`, zeroPoints.shape, 1);
      return matrix;
    },
    constant: (name, shape) => note(name, shape),
    kvScale: () => ({ pointer: 0n, type: 'float32', shape: kvScaleShape(options.config, options.kvType) }),
  };
  for (const maxRows of sizes) pagedGraph({ ...options, maxRows }, planning);
  return { totalBytes: [...bytesOf.values()].reduce((sum, bytes) => sum + bytes, 0), scratchBytes };
}
