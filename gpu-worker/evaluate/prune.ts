/** Which layers a model can do without, by the loss that it has without them. Knows no text and no files. */
import type { ModelConfig } from '../model/config.ts';
import { layerSubset, withLayers } from '../model/layer-subset.ts';
import type { WeightStore } from '../model/weight-store.ts';
import type { ScoredText } from './scored-text.ts';
import { Scorer } from './scorer.ts';
import type { Score, ScorerOptions } from './scorer.ts';

export interface PruneProgress {
  /** Models scored so far, and in all. */
  readonly done: number;
  readonly total: number;
}

/** The model after one more layer was dropped. */
export interface PruneStep {
  /** Number of the layer in the whole model. */
  readonly dropped: number;
  readonly kept: readonly number[];
  readonly score: Score;
}

export interface PruneOptions {
  readonly config: ModelConfig;
  readonly weights: WeightStore;
  /** What the loss is measured on. */
  readonly texts: readonly ScoredText[];
  readonly onProgress?: (progress: PruneProgress) => void;
}

/**
 * Drops `count` layers one after another, each time that without which the loss is least (greedy, as in "ShortGPT",
 * arXiv 2403.03853, but by the loss itself and not by a measure that stands for it). Throws when no layer would be left.
 */
export function pruneLayers(count: number, { config, weights, texts, onProgress }: PruneOptions): readonly PruneStep[] {
  if (!Number.isInteger(count) || count < 0 || count >= config.layers) {
    throw new RangeError(`${count} layers to drop of ${config.layers}: at least one must stay`);
  }
  let kept: readonly number[] = Array.from({ length: config.layers }, (_, layer) => layer);
  const total = Array.from({ length: count }, (_, step) => config.layers - step).reduce((sum, each) => sum + each, 0);
  let done = 0;
  return Array.from({ length: count }, () => {
    let best: PruneStep | null = null;
    for (const dropped of kept) {
      const rest = kept.filter((layer) => layer !== dropped);
      const score = scoreWith(rest, { config, weights, texts });
      if (best === null || score.loss < best.score.loss) best = { dropped, kept: rest, score };
      onProgress?.({ done: ++done, total });
    }
    if (best === null) throw new Error('no layer to drop');
    kept = best.kept;
    return best;
  });
}

/** Of the model with these layers only. */
export function scoreWith(
  kept: readonly number[],
  { config, weights, texts, rounding = null }: PruneOptions & Pick<ScorerOptions, 'rounding'>,
  onText?: (done: number) => void,
): Score {
  const capacity = Math.max(1, ...texts.map(({ ids }) => ids.length));
  const scorer = new Scorer(withLayers(config, kept), layerSubset(weights, kept), { capacity, rounding });
  try {
    return scorer.score(texts, onText);
  } finally {
    scorer.free();
  }
}
