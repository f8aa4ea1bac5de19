/** The models that benchmarks serve: where their folder is, and how they are quantized. Starts nothing. */
import { fileURLToPath } from 'node:url';
import type { EngineOptions } from '../../gpu-worker/engine/engine-options.ts';
import { randomModelFolder } from './model-folder.ts';

export interface BenchModel {
  readonly quantization: EngineOptions['quantization'];
  /** A Hugging Face folder; made where it is missing. */
  readonly folder: (progress: (text: string) => void) => Promise<string>;
}

const inTree = (path: string) => () => Promise.resolve(fileURLToPath(new URL(`../../${path}`, import.meta.url)));

export const BENCH_MODELS = {
  /** The embedded model as `npm start` serves it. */
  mini: { quantization: 'none', folder: inTree('models/millrace-mini') },
  /** The shape of Qwen2.5-0.5B, random weights. */
  qwen: { quantization: 'int4', folder: (progress) => randomModelFolder('qwen2.5-0.5b', progress) },
  /** For smoke runs. */
  tiny: { quantization: 'none', folder: inTree('test/fixtures/tiny-llama') },
} as const satisfies Record<string, BenchModel>;

export type BenchModelName = keyof typeof BENCH_MODELS;

export function isBenchModel(name: string): name is BenchModelName {
  return Object.hasOwn(BENCH_MODELS, name);
}
