/** What scheduler and bookkeeping cost: the engine beside a bare loop that launches hand-made plans on the same runner. */
import { performance } from 'node:perf_hooks';
import type { ModelRunner } from '../../../gpu-worker/engine/runner.ts';
import type { PlanRow, SampleSpec, StepResult } from '../../../gpu-worker/engine/step-plan.ts';
import { engineRequest } from '../../support/engine-world.ts';
import { spreadOf } from '../rounds.ts';
import type { Bench } from './bench.ts';
import { differing, EngineLoop } from './engine-loop.ts';
import type { Figure } from './measure.ts';
import { randomIds } from './random-ids.ts';
import { profileOf, type StepProfile } from './step-profile.ts';

const FULL = { batch: 16, promptTokens: 128, outputTokens: 64 };
const QUICK: typeof FULL = { batch: 4, promptTokens: 16, outputTokens: 16 };
const SIDES = ['bare', 'engine'] as const;
const GREEDY: Omit<SampleSpec, 'index'> = {
  ...{ temperature: 0, topP: 1, topK: 0, minP: 0, seed: null, choice: 0, rules: null, logprobs: null },
};

interface Side {
  readonly outputs: readonly { readonly ids: number[] }[];
  /** Over steps in which every sequence decodes. */
  readonly tokensPerSecond: number;
}

/** Decode tokens/s of both over steps of the whole batch, greedy; prompts are computed before the clock runs. */
export async function bareLoop(bench: Bench): Promise<readonly Figure[]> {
  const { batch, promptTokens, outputTokens } = bench.size.quick ? QUICK : FULL;
  const { runner } = bench.model;
  const policy = { mode: 'throughput', prefixCaching: false, speculation: 'off' } as const;
  const loop = new EngineLoop(bench.model, { policy });
  const profiles: Record<string, StepProfile> = {};
  const engine = (prompts: readonly Int32Array[], round: string): Side => {
    const requests = prompts.map((promptIds, i) => {
      return engineRequest(`${round} ${i}`, { promptIds, params: { maxTokens: outputTokens } });
    });
    const { outputs, steps } = loop.run(requests);
    const whole = steps.filter(({ stats }) => stats.rows === batch && stats.decodeRows === batch);
    const ms = whole.reduce((sum, { wallMs }) => sum + wallMs, 0);
    profiles['engine'] = profileOf(whole);
    return { outputs, tokensPerSecond: (batch * whole.length * 1000) / ms };
  };
  const promptsOf = (round: string) =>
    Array.from({ length: batch }, (_, i) => randomIds(`bare-loop ${round} ${i}`, promptTokens, runner.info.vocabSize));
  engine(promptsOf('warm-up'), 'warm-up');
  const rounds: Record<(typeof SIDES)[number], Side[]> = { bare: [], engine: [] };
  await bench.eachRound(SIDES, (side, round) => {
    const prompts = promptsOf(String(round));
    rounds[side].push(side === 'bare' ? bare(runner, prompts, outputTokens) : engine(prompts, String(round)));
  });
  const ratio = spreadOf(
    rounds.engine.map((each, i) => each.tokensPerSecond / (rounds.bare[i]?.tokensPerSecond ?? NaN)),
  );
  const details = {
    ...{ batch, promptTokens, outputTokens },
    bareTokensPerSecond: spreadOf(rounds.bare.map((each) => each.tokensPerSecond)),
    engineTokensPerSecond: spreadOf(rounds.engine.map((each) => each.tokensPerSecond)),
    differingOutputs: rounds.engine.map((each, i) => differing(each.outputs, rounds.bare[i]?.outputs ?? []).length),
  };
  return [{ name: 'engine of bare loop', unit: '×', spread: ratio, must: { atLeast: 0.95 }, details, profiles }];
}

/** Slot i holds prompt i. */
function bare(runner: ModelRunner, prompts: readonly Int32Array[], outputTokens: number): Side {
  const outputs = prompts.map(() => ({ ids: [] as number[] }));
  let plan = 0;
  const run = (rows: readonly PlanRow[]): StepResult => {
    const tokens = rows.reduce((sum, { ids }) => sum + ids.length, 0);
    runner.launch({ id: ++plan, copies: [], drops: [], rows, tokens });
    return runner.collect();
  };
  const row = (slot: number, start: number, ids: Int32Array): PlanRow => {
    const sample = { ...GREEDY, index: outputs[slot]?.ids.length ?? 0 };
    return { sequence: slot, blocks: Int32Array.of(slot), start, ids, draws: 1, sample };
  };
  for (const [slot, prompt] of prompts.entries()) {
    outputs[slot]?.ids.push(...run([row(slot, 0, prompt)]).tokens);
  }
  const begin = performance.now();
  for (let step = 1; step < outputTokens; step++) {
    const rows = outputs.map(({ ids }, slot) => {
      const start = (prompts[slot]?.length ?? 0) + step - 1;
      return row(slot, start, Int32Array.of(ids.at(-1) ?? 0));
    });
    const { tokens } = run(rows);
    outputs.forEach(({ ids }, slot) => ids.push(tokens[slot] ?? 0));
  }
  const ms = performance.now() - begin;
  return { outputs, tokensPerSecond: ((outputTokens - 1) * prompts.length * 1000) / ms };
}
