/** How well steps are predicted over mixed load: arrivals, chunks, decodes, greedy and drawn. */
import { engineRequest } from '../../support/engine-world.ts';
import { spreadOf } from '../rounds.ts';
import type { Bench } from './bench.ts';
import { EngineLoop } from './engine-loop.ts';
import type { Figure } from './measure.ts';
import { randomIds } from './random-ids.ts';
import { profileOf, type StepRecord } from './step-profile.ts';

/** A round is as many steps as the engine's own median looks back over, so none of the warm-up is in it. */
const FULL = { warmUp: 128, steps: 256, maxRunning: 24, promptTokens: 512, outputTokens: 96 };
const QUICK: typeof FULL = { warmUp: 16, steps: 32, maxRunning: 4, promptTokens: 64, outputTokens: 16 };
/** A step brings a request with a chance of one in so many. */
const ARRIVAL_ONE_IN = 6;

/** Median of |predicted − measured| / measured, each step predicted before it ran. */
export async function stepCost(bench: Bench): Promise<readonly Figure[]> {
  const size = bench.size.quick ? QUICK : FULL;
  const { vocabSize } = bench.model.runner.info;
  const policy = { mode: 'balanced', prefixCaching: true, speculation: 'auto' } as const;
  const loop = new EngineLoop(bench.model, { policy });
  const draws = randomIds('step-cost', 65_536, 1 << 20);
  let drawn = 0;
  const draw = (below: number) => (draws[drawn++ % draws.length] ?? 0) % below;
  let running = 0;
  const play = (steps: number): readonly StepRecord[] => {
    const records: StepRecord[] = [];
    while (records.length < steps) {
      if (running === 0 || (running < size.maxRunning && draw(ARRIVAL_ONE_IN) === 0)) {
        const promptIds = randomIds(`step-cost ${drawn}`, 1 + draw(size.promptTokens), vocabSize);
        const params = { maxTokens: 1 + draw(size.outputTokens), temperature: draw(2) };
        loop.add(engineRequest(String(drawn), { promptIds, params }));
      }
      const step = loop.step();
      if (step !== null) records.push(step);
      running = loop.open;
    }
    return records;
  };
  bench.show('warm-up');
  play(size.warmUp);
  const rounds: (readonly StepRecord[])[] = [];
  await bench.eachRound(['mixed load'], () => rounds.push(play(size.steps)));
  const costs = rounds.map((steps) => steps.at(-1)?.stats.cost ?? null);
  const errors = costs.map((cost) => 100 * (cost?.medianError ?? NaN));
  const details = { ...size, arrivalOneIn: ARRIVAL_ONE_IN, coefficients: costs.at(-1)?.coefficients };
  const profiles = { 'mixed load': profileOf(rounds.flat()) };
  return [{ name: 'step-cost error', unit: '%', spread: spreadOf(errors), must: { atMost: 20 }, details, profiles }];
}
