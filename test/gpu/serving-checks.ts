/** The embedded model through the library on a GPU, held against the same on the CPU in float32. Prints nothing. */
import { LLM } from '../../gpu-worker/llm.ts';
import type { CompletionOutput, GenerationParams, LoadOptions, RequestOutput } from '../../gpu-worker/llm.ts';
import type { GoldenModel } from './goldens.ts';

export interface ServingCheck {
  readonly name: string;
  /** What was counted, of how many; null where only the figure counts. */
  readonly equal: readonly [number, number] | null;
  readonly figure: string;
  readonly passed: boolean;
}

/** 16-bit weights and an 8-bit cache move logits: of texts that should be equal so many are, at least. */
const LEAST_EQUAL = 0.85;
const LEAST_ROUNDED_EQUAL = 0.5;
const TOKENS = 48;
const DRAWS = 4000;

type Prompts = readonly (readonly number[])[];

export async function checkServing(model: GoldenModel): Promise<readonly ServingCheck[]> {
  const common = { model: model.folder, maxNumSeqs: 64, maxNumBatchedTokens: 1024, maxModelLen: 1024 } as const;
  await using cpu = await LLM.load({ ...common, device: 'cpu', enablePrefixCaching: false });
  await using gpu = await LLM.load({ ...common, device: 'cuda' });
  await using cold = await LLM.load({ ...common, device: 'cuda', enablePrefixCaching: false });
  const prompts = model.tokens.map(({ prompt }) => prompt);
  const greedy: GenerationParams = { temperature: 0, maxTokens: TOKENS, speculation: 'off' };
  const seeded = (index: number): GenerationParams => ({ ...greedy, temperature: 0.8, topP: 0.95, seed: index });
  const ruled: GenerationParams = {
    ...{ ...greedy, repetitionPenalty: 1.2, frequencyPenalty: 0.3, presencePenalty: 0.2, minTokens: 8 },
    logitBias: { 40: 2, 41: -100 },
  };
  const seeds = prompts.map((_, i) => seeded(i));
  const onGpu = await texts(cold, prompts, greedy);
  const onGpuSeeded = await texts(cold, prompts, seeds);
  const rounded = await roundedChecks(common, prompts, greedy);
  return [
    ...rounded,
    compared('greedy, GPU = CPU', onGpu, await texts(cpu, prompts, greedy)),
    compared('seeded top-p, GPU = CPU', onGpuSeeded, await texts(cpu, prompts, seeds)),
    compared('seeded top-p, batched = alone', onGpuSeeded.slice(0, 8), await alone(cold, prompts.slice(0, 8), seeds)),
    compared(
      'penalties, bias and least length, GPU = CPU',
      await texts(cold, prompts, ruled),
      await texts(cpu, prompts, ruled),
    ),
    compared('greedy, drafted = not', await texts(cold, prompts, { ...greedy, speculation: 'n-gram' }), onGpu),
    await prefixes(gpu, cold, prompts),
    await logprobs(cold, cpu, prompts),
    await distribution(cold, cpu, prompts[0] ?? []),
    await cancelled(cold, prompts[0] ?? []),
  ];
}

/** int8 and int4 layers are rounded as on the CPU; there activations are rounded too, so texts part sooner. */
async function roundedChecks(
  common: LoadOptions,
  prompts: Prompts,
  params: GenerationParams,
): Promise<readonly ServingCheck[]> {
  const plain = { ...common, enablePrefixCaching: false, quantizationCache: 'none' } as const;
  const checks: ServingCheck[] = [];
  for (const quantization of ['int8', 'int4'] as const) {
    await using cpu = await LLM.load({ ...plain, device: 'cpu', quantization });
    await using gpu = await LLM.load({ ...plain, device: 'cuda', quantization });
    const check = compared(
      `greedy ${quantization}, GPU = CPU`,
      await texts(gpu, prompts, params),
      await texts(cpu, prompts, params),
    );
    checks.push({ ...check, passed: (check.equal?.[0] ?? 0) >= LEAST_ROUNDED_EQUAL * prompts.length });
  }
  return checks;
}

async function outputsOf(llm: LLM, prompts: Prompts, params: Params): Promise<readonly RequestOutput[]> {
  const outputs: RequestOutput[] = [];
  for await (const output of llm.generate(prompts, params)) outputs[output.index] = output;
  return outputs;
}

type Params = GenerationParams | readonly GenerationParams[];

async function texts(llm: LLM, prompts: Prompts, params: Params): Promise<readonly string[]> {
  return (await outputsOf(llm, prompts, params)).map(({ outputs }) => outputs[0]?.tokenIds.join() ?? '');
}

async function alone(llm: LLM, prompts: Prompts, params: readonly GenerationParams[]): Promise<readonly string[]> {
  const all: string[] = [];
  for (const [i, prompt] of prompts.entries()) all.push(...(await texts(llm, [prompt], params[i] ?? {})));
  return all;
}

function compared(name: string, a: readonly string[], b: readonly string[]): ServingCheck {
  const equal = a.filter((text, i) => text === b[i]).length;
  return { name, equal: [equal, a.length], figure: '', passed: equal >= LEAST_EQUAL * a.length };
}

/** A long prompt, then others that share its beginning up to a place inside a block: that part is copied. */
async function prefixes(gpu: LLM, cold: LLM, prompts: Prompts): Promise<ServingCheck> {
  const long = prompts.flat().slice(0, 400);
  const params: GenerationParams = { temperature: 0, maxTokens: 24, speculation: 'off' };
  await texts(gpu, [long], params);
  const branches = [290, 300, 333, 350, 399].map((shared, i) => [...long.slice(0, shared), ...long.slice(i, i + 40)]);
  const warm = await outputsOf(gpu, branches, params);
  const cached = warm.map(({ usage }) => usage.cachedTokens);
  const check = compared(
    'prefix hit = cold',
    warm.map(({ outputs }) => outputs[0]?.tokenIds.join() ?? ''),
    await texts(cold, branches, params),
  );
  return { ...check, figure: `${cached.join(', ')} tokens cached`, passed: check.passed && Math.min(...cached) >= 256 };
}

/** Log probabilities of the same tokens: both go on where they agree. */
async function logprobs(gpu: LLM, cpu: LLM, prompts: Prompts): Promise<ServingCheck> {
  const params: GenerationParams = { temperature: 0, maxTokens: 16, logprobs: 5, speculation: 'off' };
  const [ours, theirs] = [await outputsOf(gpu, prompts, params), await outputsOf(cpu, prompts, params)];
  const differences: number[] = [];
  ours.forEach(({ outputs }, i) => {
    const [a, b] = [outputs[0], theirs[i]?.outputs[0]];
    for (let step = 0; step < agreed(a, b); step++) {
      differences.push(Math.abs((a?.logprobs?.[step]?.logprob ?? NaN) - (b?.logprobs?.[step]?.logprob ?? NaN)));
    }
  });
  const worst = Math.max(...differences);
  const figure = `largest difference ${worst.toFixed(3)} of ${differences.length}`;
  return { name: 'log probabilities, GPU to CPU', equal: null, figure, passed: worst < 0.5 };
}

function agreed(a: CompletionOutput | undefined, b: CompletionOutput | undefined): number {
  const length = Math.min(a?.tokenIds.length ?? 0, b?.tokenIds.length ?? 0);
  let step = 0;
  while (step < length && a?.tokenIds[step] === b?.tokenIds[step]) step++;
  return step;
}

/** Unseeded first tokens of one prompt against its probabilities on the CPU. */
async function distribution(gpu: LLM, cpu: LLM, prompt: readonly number[]): Promise<ServingCheck> {
  const [reference] = await outputsOf(cpu, [prompt], { temperature: 1, topP: 1, topK: 0, maxTokens: 1, logprobs: 20 });
  const top = reference?.outputs[0]?.logprobs?.[0]?.top ?? [];
  const counts = new Map<number, number>();
  const many = Array.from({ length: DRAWS }, () => prompt);
  for (const { outputs } of await outputsOf(gpu, many, { temperature: 1, topP: 1, topK: 0, maxTokens: 1 })) {
    const token = outputs[0]?.tokenIds[0] ?? -1;
    counts.set(token, (counts.get(token) ?? 0) + 1);
  }
  let [statistic, freedom] = [0, 0];
  for (const { id, logprob } of top) {
    const expected = DRAWS * Math.exp(logprob);
    if (expected < 20) continue;
    statistic += ((counts.get(id) ?? 0) - expected) ** 2 / expected;
    freedom++;
  }
  // The model itself is off by its roundings; five deviations leave room for that.
  const limit = freedom + 5 * Math.sqrt(2 * freedom) + 5;
  const figure = `χ² ${statistic.toFixed(1)} at ${freedom} tokens, below ${limit.toFixed(1)}`;
  return {
    name: `${DRAWS} unseeded draws follow the model`,
    equal: null,
    figure,
    passed: freedom > 0 && statistic < limit,
  };
}

async function cancelled(llm: LLM, prompt: readonly number[]): Promise<ServingCheck> {
  for await (const _ of llm.stream(prompt, { maxTokens: 200, temperature: 1 })) break;
  const after = await texts(llm, [prompt], { temperature: 0, maxTokens: 4 });
  return { name: 'goes on after a cancelled stream', equal: null, figure: '', passed: (after[0] ?? '') !== '' };
}
