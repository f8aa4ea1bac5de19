/** What the prefix cache saves where most of every prompt is the same. */
import type { EngineRequest } from '../../../gpu-worker/engine/messages.ts';
import { engineRequest } from '../../support/engine-world.ts';
import { spreadOf } from '../rounds.ts';
import type { Bench } from './bench.ts';
import { EngineLoop, type RunRecord } from './engine-loop.ts';
import type { Figure } from './measure.ts';
import { randomIds } from './random-ids.ts';
import { profileOf } from './step-profile.ts';

const FULL = { requests: 64, promptTokens: 1000, sharedTokens: 900, outputTokens: 16 };
const QUICK: typeof FULL = { requests: 8, promptTokens: 100, sharedTokens: 90, outputTokens: 4 };
const SIDES = ['on', 'off'] as const;

/**
 * Time until all requests have ended, that are all there from the beginning, without the cache ÷ with it. Off: every
 * request has a salt of its own, which shares as little as a cache that is switched off.
 */
export async function prefix(bench: Bench): Promise<readonly Figure[]> {
  const size = bench.size.quick ? QUICK : FULL;
  const requests = bench.size.requests ?? size.requests;
  const { vocabSize } = bench.model.runner.info;
  const policy = { mode: 'throughput', prefixCaching: true, speculation: 'off' } as const;
  const loop = new EngineLoop(bench.model, { policy });
  const requestsOf = (side: (typeof SIDES)[number], key: string, count: number): readonly EngineRequest[] => {
    const shared = randomIds(`prefix ${key}`, size.sharedTokens, vocabSize);
    return Array.from({ length: count }, (_, i) => {
      const own = randomIds(`prefix ${key} ${i}`, size.promptTokens - size.sharedTokens, vocabSize);
      const cacheSalt = side === 'on' ? key : `${key} ${i}`;
      const params = { maxTokens: size.outputTokens };
      return engineRequest(`${side} ${key} ${i}`, { promptIds: [...shared, ...own], cacheSalt, params });
    });
  };
  bench.show('warm-up');
  loop.run(requestsOf('on', 'warm-up', 2));
  const rounds: Record<(typeof SIDES)[number], RunRecord[]> = { on: [], off: [] };
  await bench.eachRound(SIDES, (side, round) => {
    rounds[side].push(loop.run(requestsOf(side, `round ${side} ${round}`, requests)));
  });
  const cached = rounds.on.flatMap(({ outputs }) => outputs.map(({ usage }) => usage?.cachedTokens ?? 0));
  const details = {
    ...size,
    requests,
    onMs: spreadOf(rounds.on.map(({ ms }) => ms)),
    offMs: spreadOf(rounds.off.map(({ ms }) => ms)),
    /** Of all prompt tokens. */
    cachedShare: cached.reduce((sum, tokens) => sum + tokens, 0) / (cached.length * size.promptTokens),
  };
  const spread = spreadOf(rounds.off.map(({ ms }, i) => ms / (rounds.on[i]?.ms ?? NaN)));
  const profiles = {
    on: profileOf(rounds.on.flatMap(({ steps }) => steps)),
    off: profileOf(rounds.off.flatMap(({ steps }) => steps)),
  };
  return [{ name: 'prefix cache, off / on', unit: '×', spread, must: { atLeast: 5 }, details, profiles }];
}
