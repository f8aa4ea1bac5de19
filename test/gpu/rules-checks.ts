/** Penalties, biases and a least length on the GPU, held against the same rules on the host from the same logits. Prints nothing. */
import { readModelConfig } from '../../gpu-worker/model/config.ts';
import type { ModelRunner } from '../../gpu-worker/engine/runner.ts';
import { PLACEHOLDER } from '../../gpu-worker/engine/step-plan.ts';
import type { SampleSpec, StepResult } from '../../gpu-worker/engine/step-plan.ts';
import { openCudaRunner } from '../../gpu-worker/model/cuda/open-cuda.ts';
import { openSafetensors } from '../../gpu-worker/model/safetensors.ts';
import type { LogitsMask, LogitsRules } from '../../gpu-worker/sample/logits-rules.ts';
import { TokenHistory } from '../../gpu-worker/sample/token-history.ts';
import type { GoldenModel } from './goldens.ts';
import { GREEDY, PagedDriver } from './paged-driver.ts';
import type { ServingCheck } from './serving-checks.ts';

const TOKENS = 40;
const SEQUENCES = 64;
const PLAIN = { repetitionPenalty: 1, frequencyPenalty: 0, presencePenalty: 0, bias: [], forbidden: null, mask: null };
const RULES: Readonly<Record<string, Omit<LogitsRules, 'history'>>> = {
  'repetition penalty': { ...PLAIN, repetitionPenalty: 1.3 },
  'frequency and presence penalty': { ...PLAIN, frequencyPenalty: 0.6, presencePenalty: 0.4 },
  'all penalties, bias, least length': {
    ...{ ...PLAIN, repetitionPenalty: 1.2, frequencyPenalty: 0.3, presencePenalty: 0.2 },
    ...{ bias: [[40, 2] as const, [41, -100] as const], forbidden: { ids: [0, 1, 2], untilIndex: 20 } },
  },
};
/** A mask is for the host, and all other rules of its row with it. */
const FREE_MASK: LogitsMask = { allowed: () => null, accept: () => {} };

/** device: the GPU draws; mixed: the host draws, rules are applied on the GPU; host: all there. */
type Place = 'device' | 'mixed' | 'host';

export function checkRules(model: GoldenModel): readonly ServingCheck[] {
  const prompts = model.tokens.map(({ prompt }) => prompt);
  const maxModelLen = Math.max(...prompts.map(({ length }) => length)) + TOKENS;
  const source = openSafetensors(model.folder);
  const limits = { maxNumSeqs: SEQUENCES, maxModelLen, maxStepTokens: 4096, kvCacheTokens: SEQUENCES * 1024 };
  const runner = openCudaRunner(readModelConfig(model.folder), source, { ...limits, type: 'float16' });
  source.close();
  try {
    return Object.entries(RULES).map(([name, rules]) => {
      const run = (place: Place) => generate(new PagedDriver(runner, maxModelLen), { rules, prompts, place });
      const [device, mixed, host] = [run('device'), run('mixed'), run('host')];
      const equal = host.texts.filter((text, i) => text === device.texts[i] && text === mixed.texts[i]).length;
      // Equal to the bit: no text may part. The host has no part in what the GPU draws.
      const passed = equal === prompts.length && device.hostMs === 0 && host.hostMs > 0;
      const figure = `host ${device.hostMs.toFixed(0)}, ${mixed.hostMs.toFixed(0)} and ${host.hostMs.toFixed(0)} ms`;
      return { name: `${name}: on the GPU = on the host`, equal: [equal, prompts.length], figure, passed };
    });
  } finally {
    runner.dispose();
  }
}

interface Ruled {
  readonly rules: Omit<LogitsRules, 'history'>;
  readonly prompts: readonly (readonly number[])[];
  readonly place: Place;
}

/** Greedy, two steps in flight, histories as late as the engine's: they lack the token of the step before. */
function generate(driver: PagedDriver, { rules, prompts, place }: Ruled): { texts: readonly string[]; hostMs: number } {
  const runner: ModelRunner = driver.runner;
  const histories = prompts.map((prompt) => new TokenHistory(prompt));
  const outputs = prompts.map((): number[] => []);
  let hostMs = 0;
  const take = ({ tokens, sampleMs }: StepResult): void => {
    hostMs += sampleMs;
    tokens.forEach((token, i) => {
      outputs[i]?.push(token);
      histories[i]?.addOutput(token);
    });
  };
  const mask = place === 'host' ? FREE_MASK : null;
  for (let step = 0; step < TOKENS; step++) {
    const rows = prompts.map((prompt, sequence) => {
      const history = histories[sequence] ?? new TokenHistory();
      const logprobs = place === 'mixed' ? 0 : null;
      const sample: SampleSpec = { ...GREEDY, index: step, rules: { ...rules, history, mask }, logprobs };
      if (step === 0) return { sequence, start: 0, ids: prompt, sample };
      return { sequence, start: prompt.length + step - 1, ids: [PLACEHOLDER], sample };
    });
    runner.launch(driver.plan(rows));
    if (step > 0) take(runner.collect());
  }
  take(runner.collect());
  return { texts: outputs.map((ids) => ids.join()), hostMs };
}
