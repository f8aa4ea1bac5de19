/** Every measure of the engine by its name on the command line, in the order they run. */
import { arrival } from './arrival.ts';
import { bareLoop } from './bare-loop.ts';
import { host } from './host.ts';
import type { Measure } from './measure.ts';
import { naive } from './naive.ts';
import { ngramEmbedded } from './ngram-embedded.ts';
import { ngramPlain } from './ngram-plain.ts';
import { ngramRepetitive } from './ngram-repetitive.ts';
import { prefix } from './prefix.ts';
import { stepCost } from './step-cost.ts';
import { wholePath } from './whole-path.ts';

/** Those that open models of their own come first, before the one that the others share is in memory. */
export const MEASURES = {
  host,
  'whole-path': wholePath,
  'ngram-embedded': ngramEmbedded,
  'bare-loop': bareLoop,
  naive,
  arrival,
  'step-cost': stepCost,
  'ngram-repetitive': ngramRepetitive,
  'ngram-plain': ngramPlain,
  prefix,
} as const satisfies Record<string, Measure>;

export type MeasureName = keyof typeof MEASURES;

export function isMeasure(name: string): name is MeasureName {
  return Object.hasOwn(MEASURES, name);
}
