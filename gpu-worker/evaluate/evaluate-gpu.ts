/** A folder's model judged by texts as a GPU serves it, in its number formats. Knows no command. */
import { readModelConfig } from '../model/config.ts';
import type { DtypeChoice } from '../model/device.ts';
import { openModel } from '../model/load.ts';
import { calibrationPrompts } from './calibration-prompts.ts';
import { layersToKeep, textsOf } from './evaluate.ts';
import type { EvaluatedModel, PruningOptions } from './evaluate.ts';
import { FORCED_DRAWS, RunnerScorer } from './runner-scorer.ts';
import type { Score } from './scorer.ts';

export interface GpuModel extends EvaluatedModel, PruningOptions {
  /** Number of the GPU. */
  readonly gpu?: number;
  readonly dtype?: DtypeChoice;
  readonly memoryUtilization?: number;
}

export interface GpuEvaluation {
  readonly score: Score;
  /** Number format of keys and values, as it was chosen. */
  readonly kv: string | undefined;
  readonly kept: readonly number[];
  readonly layers: number;
}

/** Tokens of a step: as many draws as a step has room for, and so that prompts before them go on. */
const STEP_TOKENS = FORCED_DRAWS;

/** Scores the file's texts; `onText` hears how many are done. */
export function evaluateOnGpu(
  model: GpuModel,
  input: string,
  onText: (done: number, total: number) => void = () => {},
): GpuEvaluation {
  const config = readModelConfig(model.folder);
  const texts = textsOf(model.folder, config, { path: input });
  const keepLayers = layersToKeep(model);
  const maxModelLen = Math.max(1, ...texts.map(({ ids }) => ids.length));
  const { onLoading: onProgress = () => {}, ...options } = model;
  const limits = { maxNumSeqs: FORCED_DRAWS, maxStepTokens: STEP_TOKENS, maxModelLen, kvCacheTokens: maxModelLen };
  const calibration = calibrationPrompts(model.folder, config.vocabSize);
  const runner = openModel({ ...options, ...limits, device: 'cuda', keepLayers, calibration, onProgress });
  try {
    const score = new RunnerScorer(runner).score(texts, (done) => onText(done, texts.length));
    const kept = keepLayers ?? Array.from({ length: config.layers }, (_, layer) => layer);
    return { score, kept, layers: config.layers, kv: runner.info.kvType };
  } finally {
    runner.dispose();
  }
}
