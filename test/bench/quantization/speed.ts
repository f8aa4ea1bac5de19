/** How fast a variant runs without engine or text: one prompt, then single steps of a batch. */
import type { ModelRunner } from '../../../gpu-worker/engine/runner.ts';
import type { PlanRow } from '../../../gpu-worker/engine/step-plan.ts';
import { openModel, type OpenModelOptions } from '../../../gpu-worker/model/load.ts';
import { randomIds } from '../engine/random-ids.ts';
import { median } from '../rounds.ts';

export interface Speed {
  /** Tokens/s of a prompt. */
  readonly prefill: number;
  /** Tokens/s of one stream, and of sixteen together. */
  readonly decode1: number;
  readonly decode16: number;
}

const PROMPT_TOKENS = 256;
const PROMPTS = 5;
const STEPS = 24;
const SLOTS = 16;
const GREEDY = {
  ...{ temperature: 0, topP: 1, topK: 0, minP: 0, seed: null, choice: 0, rules: null, logprobs: null, index: 0 },
};

export function speedOf(
  model: Omit<OpenModelOptions, 'maxNumSeqs' | 'kvCacheTokens' | 'maxModelLen' | 'maxStepTokens'>,
) {
  const sizes = {
    maxNumSeqs: SLOTS,
    cacheSlots: 0,
    kvCacheTokens: null,
    maxModelLen: 512,
    maxStepTokens: PROMPT_TOKENS,
  };
  const runner = openModel({ ...model, ...sizes });
  try {
    const prefillMs = Array.from({ length: PROMPTS }, (_, i) => {
      const ids = randomIds(`prompt ${i}`, PROMPT_TOKENS, runner.info.vocabSize);
      return timed(() => run(runner, [row(0, 0, ids)]));
    });
    const decode = (batch: number) => {
      const ms = Array.from({ length: STEPS }, (_, step) => {
        const ids = randomIds(`step ${step}`, batch, runner.info.vocabSize);
        return timed(() =>
          run(
            runner,
            Array.from(ids, (id, slot) => row(slot, step, Int32Array.of(id))),
          ),
        );
      });
      return (batch * 1000) / median(ms);
    };
    return { prefill: (PROMPT_TOKENS * 1000) / median(prefillMs), decode1: decode(1), decode16: decode(SLOTS) };
  } finally {
    runner.dispose();
  }
}

let plan = 0;

function run(runner: ModelRunner, rows: readonly PlanRow[]): void {
  const tokens = rows.reduce((sum, { ids }) => sum + ids.length, 0);
  runner.launch({ id: ++plan, copies: [], drops: [], rows, tokens });
  runner.collect();
}

function row(slot: number, start: number, ids: Int32Array): PlanRow {
  return { sequence: slot, blocks: Int32Array.of(slot), start, ids, draws: 1, sample: GREEDY };
}

function timed(work: () => void): number {
  const begin = performance.now();
  work();
  return performance.now() - begin;
}
