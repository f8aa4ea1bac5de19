/** Opens a model folder as a ModelRunner on the CPU: config, weights, graph, session, KV slots. Owns no step. */
import { createHash } from 'node:crypto';
import type { ModelRunner } from '../engine/runner.ts';
import { drawKeyed } from '../sample/keyed.ts';
import { readModelConfig } from './config.ts';
import type { ModelConfig } from './config.ts';
import { CpuRunner } from './cpu-runner.ts';
import { cpuGraph } from './graph/cpu-graph.ts';
import { KvSlots } from './kv-slots.ts';
import type { Quantization } from './quantize.ts';
import { ortLibrary } from './runtime/ort-library.ts';
import { Session } from './runtime/session.ts';
import { openSafetensors } from './safetensors.ts';
import { Sampler } from './sampler.ts';
import type { DrawToken } from './sampler.ts';
import { WeightStore } from './weight-store.ts';
import type { WeightSource } from './weights.ts';

export interface RunnerOptions {
  readonly quantization: Quantization;
  readonly slots: number;
  /** Lowered to what the model was made for. */
  readonly maxModelLen: number;
  readonly threads: number;
  readonly maxStepTokens: number;
  /** How rows of temperature above 0 are drawn; tests replace it. */
  readonly draw?: DrawToken;
  /** Called while weights are read, with the bytes (as float32) so far. */
  readonly onProgress?: (bytes: number) => void;
}

export interface OpenModelOptions extends RunnerOptions {
  /** A Hugging Face folder: config.json and safetensors. */
  readonly folder: string;
}

/** Throws `ModelFolderError` when the folder cannot be served; the message says why. */
export function openModel(options: OpenModelOptions): ModelRunner {
  const config = readModelConfig(options.folder);
  const source = openSafetensors(options.folder);
  try {
    return createRunner(config, source, options);
  } finally {
    source.close();
  }
}

/** The same from any config and weights. `source` is read completely here. */
export function createRunner(config: ModelConfig, source: WeightSource, options: RunnerOptions): ModelRunner {
  const { slots, threads, maxStepTokens, draw = drawKeyed } = options;
  const maxModelLen = Math.min(options.maxModelLen, config.maxPositions);
  requirePositive({ slots, threads, maxStepTokens, maxModelLen });
  const store = new WeightStore(source, options.quantization, options.onProgress);
  const cleanup: (() => void)[] = [() => store.free()];
  try {
    const kv = new KvSlots(config, slots, maxModelLen);
    cleanup.push(() => kv.free());
    const graph = cpuGraph(config, store, kv.capacity);
    const session = new Session(graph.model, { threads, initializers: graph.initializers });
    cleanup.push(() => session.release());
    const sampler = new Sampler({ vocabSize: config.vocabSize, maxRows: slots, draw });
    const fingerprint = fingerprintOf(config, source, options.quantization);
    const { vocabSize, eosIds } = config;
    const info = { vocabSize, maxModelLen, slots, eosIds, fingerprint };
    return new CpuRunner({ info, session, kv, sampler, maxStepTokens, onDispose: () => store.free() });
  } catch (error) {
    for (const free of cleanup.reverse()) free();
    throw error;
  }
}

function fingerprintOf(config: ModelConfig, source: WeightSource, quantization: Quantization): string {
  const parts = [JSON.stringify(config), source.identity, quantization, 'kv-f32', `ort-cpu-${ortLibrary().version}`];
  return createHash('sha256').update(parts.join('\n')).digest('hex').slice(0, 16);
}

function requirePositive(values: Readonly<Record<string, number>>): void {
  for (const [name, value] of Object.entries(values)) {
    if (!Number.isInteger(value) || value < 1)
      throw new RangeError(`${name} = ${value} must be an integer of at least 1`);
  }
}
