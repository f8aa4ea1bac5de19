import { expect, test } from 'vitest';
import type { OutputsEvent } from '../../../gpu-worker/engine/engine-client.ts';
import { BYTE_TOKENS, engineRequest } from '../../support/engine-world.ts';
import { SimulatedEngine } from './simulated-engine.ts';
import { SimulatedRunner } from './simulated-runner.ts';

const POLICY = { mode: 'throughput', prefixCaching: true, speculation: 'off', ttftMs: null, itlMs: null } as const;
const SIZES = { maxNumSeqs: 4, maxModelLen: 1024, maxStepTokens: 1024, kvTokens: 4096, vocabSize: 256 };

function engineOf(tokenMs: number): SimulatedEngine {
  const costs = { constantMs: 1, sequenceMs: 0, tokenMs, kvTokenMs: 0 };
  const runner = new SimulatedRunner({ costs, ...SIZES, words: [97, 98] });
  return new SimulatedEngine({ runner, tokenBytes: BYTE_TOKENS, policy: POLICY });
}

/** Milliseconds to the first output of a prompt of `tokens` tokens, and its usage. */
function run(engine: SimulatedEngine, id: string, tokens: number): Promise<{ firstMs: number; cached: number }> {
  const begin = performance.now();
  let firstMs = NaN;
  return new Promise((resolve) => {
    engine.onOutputs(({ deltas, ends }: OutputsEvent) => {
      if (Number.isNaN(firstMs) && deltas.some((delta) => delta.id === id)) firstMs = performance.now() - begin;
      const end = ends.find((each) => each.id === id);
      if (end !== undefined) resolve({ firstMs, cached: end.usage.cachedTokens });
    });
    engine.add(engineRequest(id, { promptIds: new Int32Array(tokens).fill(7), params: { maxTokens: 3 } }));
  });
}

test('a prompt takes the time that its steps cost, and what is cached none', async () => {
  const engine = engineOf(0.5);
  const first = await run(engine, 'a', 400);
  expect(first.cached).toBe(0);
  expect(first.firstMs).toBeGreaterThan(199);
  const times: number[] = [];
  for (const id of ['b', 'c', 'd', 'e', 'f']) {
    const again = await run(engine, id, 400);
    expect(again.cached).toBeGreaterThan(350);
    times.push(again.firstMs);
  }
  // The least: on a busy machine some come late.
  expect(Math.min(...times)).toBeLessThan(first.firstMs / 2);
});
