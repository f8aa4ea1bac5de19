/** What batching gains: the engine at many requests at once beside one request at a time. */
import { engineRequest } from '../../support/engine-world.ts';
import { spreadOf } from '../rounds.ts';
import type { Bench } from './bench.ts';
import { differing, EngineLoop, tokensPerSecond, type RunRecord } from './engine-loop.ts';
import type { Figure } from './measure.ts';
import { randomIds } from './random-ids.ts';
import { profileOf } from './step-profile.ts';

/** The lengths of the field's example, `generate` of 1000 × "Explain transformers". */
const FULL = { requests: 32, promptTokens: 16, outputTokens: 128 };
const QUICK: typeof FULL = { requests: 8, promptTokens: 16, outputTokens: 8 };
const SIDES = ['naive', 'engine'] as const;

/** Output tokens/s with prompts included, greedy, without drafts and without shared prefixes on both sides. */
export async function naive(bench: Bench): Promise<readonly Figure[]> {
  const size = bench.size.quick ? QUICK : FULL;
  const { vocabSize } = bench.model.runner.info;
  const policy = { mode: 'throughput', prefixCaching: false, speculation: 'off' } as const;
  const loop = new EngineLoop(bench.model, { policy });
  const run = (key: string, concurrency: number): RunRecord => {
    const requests = Array.from({ length: size.requests }, (_, i) => {
      const promptIds = randomIds(`naive ${key} ${i}`, size.promptTokens, vocabSize);
      return engineRequest(`${key} ${concurrency} ${i}`, { promptIds, params: { maxTokens: size.outputTokens } });
    });
    return loop.run(requests, concurrency);
  };
  bench.show('warm-up');
  run('warm-up', size.requests);
  const rounds: Record<(typeof SIDES)[number], RunRecord[]> = { naive: [], engine: [] };
  await bench.eachRound(SIDES, (side, round) => {
    rounds[side].push(run(String(round), side === 'naive' ? 1 : size.requests));
  });
  const speeds = { naive: rounds.naive.map(tokensPerSecond), engine: rounds.engine.map(tokensPerSecond) };
  const details = {
    ...size,
    naiveTokensPerSecond: spreadOf(speeds.naive),
    engineTokensPerSecond: spreadOf(speeds.engine),
    differingOutputs: rounds.engine.map((each, i) => differing(each.outputs, rounds.naive[i]?.outputs ?? []).length),
  };
  const profiles = {
    naive: profileOf(rounds.naive.flatMap(({ steps }) => steps)),
    engine: profileOf(rounds.engine.flatMap(({ steps }) => steps)),
  };
  const spread = spreadOf(speeds.engine.map((each, i) => each / (speeds.naive[i] ?? NaN)));
  return [
    { name: `${size.requests} at once / one by one`, unit: '×', spread, must: { atLeast: 3 }, details, profiles },
  ];
}
