/** A folder's model as it would be served, whole or pruned, judged by texts. Knows no command. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import { keepFile } from '../model/cache-file.ts';
import { readModelConfig } from '../model/config.ts';
import type { ModelConfig } from '../model/config.ts';
import { planWeights } from '../model/cpu-decoder.ts';
import type { KvCacheDtype } from '../model/device.ts';
import { ModelFolderError } from '../model/folder.ts';
import { chooseCpuKvType, cpuRounding } from '../model/kv-calibration.ts';
import type { CalibrationProgress, KvRounding } from '../model/kv-ranges.ts';
import { withLayers } from '../model/layer-subset.ts';
import type { CpuKvType } from '../model/graph/cpu-graph.ts';
import { openWeights } from '../model/open-weights.ts';
import type { FillProgress } from '../model/quantize/fill-all.ts';
import { schemeOf } from '../model/quantize/scheme.ts';
import type { QuantizationOptions } from '../model/quantize/scheme.ts';
import { ortLibrary } from '../model/runtime/ort-library.ts';
import { openSafetensors } from '../model/safetensors.ts';
import type { StoredWeights } from '../model/stored-weights.ts';
import { rowsOf } from '../model/weight-plan.ts';
import { calibrationPrompts } from './calibration-prompts.ts';
import { pruneLayers, scoreWith } from './prune.ts';
import type { PruneProgress } from './prune.ts';
import { readTexts } from './scored-text.ts';
import type { ScoredText } from './scored-text.ts';
import type { Score } from './scorer.ts';

/** Texts of a model's folder that pruning is measured on, unless others are given. */
const CALIBRATION_FILE = 'calibration.jsonl';
/** What a layer does shows in short texts already. */
const CALIBRATION_TOKENS = 512;
/** Longer texts are judged in pieces. */
export const TEXT_TOKENS = 2048;

export interface EvaluatedModel extends QuantizationOptions {
  /** A Hugging Face folder. */
  readonly folder: string;
  readonly quantizationCache?: string | null;
  /** Number format of keys and values; by default auto, chosen as for serving. */
  readonly kvCacheDtype?: KvCacheDtype;
  /** Tokens that a sequence may have where it is served; by default what the model was made for. */
  readonly maxModelLen?: number;
  readonly threads: number;
  readonly onLoading?: (progress: FillProgress) => void;
  readonly onCalibration?: (progress: CalibrationProgress) => void;
}

export interface PruningOptions {
  /** Layers to drop; by default 0. */
  readonly pruneLayers?: number;
  /** A file that `readTexts` reads; null = the one in the model's folder. */
  readonly pruneCalibration?: string | null;
  readonly onPruning?: (progress: PruneProgress) => void;
}

export interface Evaluation {
  readonly score: Score;
  readonly bitsPerWeight: number;
  /** Of the weights, those of dropped layers too. */
  readonly bytes: number;
  /** Number format of keys and values. */
  readonly kvType: CpuKvType;
  readonly kept: readonly number[];
  readonly layers: number;
}

/** Scores the file's texts; `onText` hears how many are done. */
export function evaluate(
  model: EvaluatedModel & PruningOptions,
  input: string,
  onText: (done: number, total: number) => void = () => {},
): Evaluation {
  return withWeights(model, (config, weights, valuesOf) => {
    const texts = textsOf(model.folder, config, { path: input });
    const kept = keptLayers(model, config, weights);
    const scored = (done: number) => onText(done, texts.length);
    const layers = kept.length === config.layers ? 'all' : kept.join();
    const rounding = kvRounding(model, withLayers(config, kept), `${weights.identity} ${layers}`);
    const score = scoreWith(kept, { config, weights, texts, rounding }, scored);
    const kvType = rounding === null ? 'float32' : 'int8';
    const bitsPerWeight = (8 * weights.bytes) / valuesOf;
    return { score, bitsPerWeight, bytes: weights.bytes, kvType, kept, layers: config.layers };
  });
}

/** Numbers of the layers that stay; null: all, as nothing is to be dropped. Remembered beside the quantized weights. */
export function layersToKeep(model: EvaluatedModel & PruningOptions): readonly number[] | null {
  if ((model.pruneLayers ?? 0) === 0) return null;
  return withWeights(model, (config, weights) => keptLayers(model, config, weights));
}

function withWeights<T>(
  model: EvaluatedModel,
  use: (config: ModelConfig, weights: StoredWeights, values: number) => T,
): T {
  const { folder, quantization, quantizationCache: cache = null, threads, onLoading: onProgress = () => {} } = model;
  const config = readModelConfig(folder);
  const layout = planWeights(config, schemeOf(model));
  const source = openSafetensors(folder);
  try {
    const weights = openWeights(layout, { source, folder, quantization, cache, threads, onProgress });
    try {
      ortLibrary().shareThreads(threads);
      return use(
        config,
        weights,
        layout.stacks.reduce((sum, { stack }) => sum + rowsOf(stack) * stack.columns, 0),
      );
    } finally {
      weights.free();
    }
  } finally {
    source.close();
  }
}

function keptLayers(
  model: EvaluatedModel & PruningOptions,
  config: ModelConfig,
  weights: StoredWeights,
): readonly number[] {
  const { pruneLayers: count = 0, folder } = model;
  if (count === 0) return Array.from({ length: config.layers }, (_, layer) => layer);
  if (count >= config.layers) {
    throw new ModelFolderError(
      `${folder} has ${config.layers} layers, ${count} cannot be dropped: lower --prune-layers`,
    );
  }
  const path = calibrationPath(model);
  const place = rememberedAt(model, path, weights.identity);
  const known = place === null ? null : remembered(place, config.layers - count);
  if (known !== null) return known;
  const texts = textsOf(folder, config, { path, cutAt: CALIBRATION_TOKENS });
  if (texts.length === 0) throw new ModelFolderError(`${path} has no text to measure pruning on`);
  const { onPruning: onProgress = () => {} } = model;
  const kept = pruneLayers(count, { config, weights, texts, onProgress }).at(-1)?.kept ?? [];
  if (place !== null) keepFile(place, JSON.stringify(kept), 'the layers to keep are not remembered');
  return kept;
}

/** As the engine rounds keys and values in its default mode; null where it keeps them in float32. */
function kvRounding(
  { folder, quantization, quantizationCache: cache = null, ...model }: EvaluatedModel,
  config: ModelConfig,
  identity: string,
): KvRounding | null {
  const maxModelLen = Math.min(model.maxModelLen ?? Infinity, config.maxPositions);
  const choice = model.kvCacheDtype ?? 'auto';
  if (chooseCpuKvType({ choice, quantization, maxModelLen, fullSteps: false }) === 'float32') return null;
  const prompts = calibrationPrompts(folder, config.vocabSize);
  return cpuRounding(config, { prompts, cache, identity, onProgress: model.onCalibration ?? (() => {}) });
}

function calibrationPath({ folder, pruneCalibration }: EvaluatedModel & PruningOptions): string {
  const path = pruneCalibration ?? join(folder, CALIBRATION_FILE);
  if (existsSync(path)) return path;
  const fix = 'give --prune-calibration a text file, or .jsonl with a text or chat a line, like what will be asked';
  throw new ModelFolderError(`no text to measure pruning on: ${path} is not there; ${fix}`);
}

/** Null without a cache. */
function rememberedAt(model: EvaluatedModel & PruningOptions, path: string, identity: string): string | null {
  const { quantizationCache: cache = null, pruneLayers: count = 0 } = model;
  if (cache === null) return null;
  const hash = createHash('sha256').update(`${identity} ${count} ${CALIBRATION_TOKENS}\n`).update(readFileSync(path));
  return join(cache, `${hash.digest('hex').slice(0, 40)}.layers`);
}

const layersSchema = v.array(v.pipe(v.number(), v.integer(), v.minValue(0)));

function remembered(place: string, count: number): readonly number[] | null {
  try {
    const kept = v.parse(layersSchema, JSON.parse(readFileSync(place, 'utf8')));
    return kept.length === count ? kept : null;
  } catch {
    return null;
  }
}

/** Of a file that `readTexts` reads, with the tokenizer of the folder `model`; by default nothing is cut off. */
export function textsOf(
  model: string,
  { vocabSize, eosIds, maxPositions }: ModelConfig,
  { path, cutAt = null }: { readonly path: string; readonly cutAt?: number | null },
): readonly ScoredText[] {
  const [eosId = null] = eosIds;
  const maxTokens = Math.min(cutAt ?? TEXT_TOKENS, maxPositions);
  return readTexts(path, { model, vocabSize, eosId, maxTokens, longTexts: cutAt === null ? 'split' : 'cut' });
}
