/** What is held against transformers for one model and KV type. Prints nothing. */
import { readModelConfig } from '../../gpu-worker/model/config.ts';
import type { ModelRunner } from '../../gpu-worker/engine/runner.ts';
import type { StepResult } from '../../gpu-worker/engine/step-plan.ts';

import { openCudaRunner } from '../../gpu-worker/model/cuda/open-cuda.ts';
import { FEW_ROWS, MEDIUM_ROWS } from '../../gpu-worker/model/cuda/kernel-choice.ts';
import { isRounded } from '../../gpu-worker/model/cuda/paged-graph.ts';
import { chooseKvType } from '../../gpu-worker/model/cuda/kv-layout.ts';
import type { KvCacheDtype } from '../../gpu-worker/model/device.ts';
import type { HalfType } from '../../gpu-worker/model/weights.ts';
import { openSafetensors } from '../../gpu-worker/model/safetensors.ts';
import type { GoldenModel, LogitsCase } from './goldens.ts';
import { GREEDY, PagedDriver } from './paged-driver.ts';
import type { DrivenRow } from './paged-driver.ts';

export interface ModelChecks {
  readonly model: string;
  readonly type: HalfType;
  readonly kv: KvCacheDtype;
  /** Largest difference of a log probability among the 20 likeliest, relative to the largest logit. */
  readonly logitsError: number | null;
  readonly allowed: number;
  /** Greedy continuations equal to float32's, of how many. */
  readonly equal: readonly [number, number] | null;
  /** Where they part: the largest lead, in float32 log probabilities of this runner, of its token over the expected one. */
  readonly largestMargin: number | null;
  readonly alone: readonly [number, number] | null;
  readonly withoutGraphs: readonly [number, number] | null;
  readonly error: string | null;
  readonly passed: boolean;
}

export interface Format {
  readonly type: HalfType;
  readonly kv: KvCacheDtype;
}

/** float16 has 11 bits, bfloat16 8, int8 7 and a sign, float8e4m3fn 4: errors of a few roundings, relative to the largest logit. */
const ALLOWED: Readonly<Record<HalfType, number>> = { float16: 0.025, bfloat16: 0.2 };
const ALLOWED_KV: Readonly<Partial<Record<KvCacheDtype, number>>> = { fp8: 0.1, int8: 0.05 };
/** Greedy texts part where two tokens are nearly as likely. */
const MAX_MARGIN = 0.5;
/** Kernels differ by the rows of a step, and so do last bits. */
const LEAST_ALONE = 0.85;
const CHUNKS = [7, 1000];
const ALONE = 8;

/** fp8 and int8 only where they are to be had. */
export function formatsOf({ folder }: GoldenModel): readonly Format[] {
  const config = readModelConfig(folder);
  const plain: readonly Format[] = [
    { type: 'float16', kv: 'float16' },
    { type: 'bfloat16', kv: 'float16' },
  ];
  const wishes = { choice: 'auto', type: 'float16', computeCapability: 9, runningSeqs: 64 } as const;
  if (!isRounded(chooseKvType(config, wishes))) return plain;
  return [
    ...plain,
    { type: 'float16', kv: 'fp8' },
    { type: 'float16', kv: 'int8' },
    { type: 'bfloat16', kv: 'fp8' },
    { type: 'bfloat16', kv: 'int8' },
  ];
}

export function checkModel(model: GoldenModel, format: Format): ModelChecks {
  const allowed = Math.max(ALLOWED_KV[format.kv] ?? 0, ALLOWED[format.type]);
  const base = { model: model.name, ...format, allowed };
  const none = { logitsError: null, equal: null, largestMargin: null, alone: null, withoutGraphs: null };
  try {
    const checked = check(model, format);
    const passed =
      (checked.logitsError ?? Infinity) <= allowed &&
      (checked.largestMargin === null || checked.largestMargin <= MAX_MARGIN) &&
      isMost(checked.alone, LEAST_ALONE) &&
      isMost(checked.withoutGraphs, 1);
    return { ...base, error: null, passed, ...checked };
  } catch (error) {
    return { ...base, ...none, error: String(error), passed: false };
  }
}

/** Whether so large a share is equal, where it was counted. */
function isMost(pair: readonly [number, number] | null, share: number): boolean {
  return pair === null || pair[0] >= share * pair[1];
}

function open(model: GoldenModel, format: Format, graphs: boolean): ModelRunner {
  const source = openSafetensors(model.folder);
  try {
    // As long as what transformers was asked for: LongRoPE's tables depend on it.
    const sizes = { maxModelLen: longestOf(model), maxStepTokens: 4096, kvCacheTokens: 72 * 1024 };
    // Kernels differ by the size of the engine.
    const rows = format.type === 'bfloat16' ? FEW_ROWS : 2 * MEDIUM_ROWS;
    const limits = { maxNumSeqs: model.tokens.length === 0 ? rows : 64, ...sizes };
    const without = graphs ? {} : { graphBytes: 0 };
    return openCudaRunner(readModelConfig(model.folder), source, { ...limits, ...format, ...without });
  } finally {
    source.close();
  }
}

function longestOf({ logits, tokens }: GoldenModel): number {
  const lengths = [
    ...logits.map(({ ids }) => ids.length),
    ...tokens.map((each) => each.prompt.length + each.expected.length),
  ];
  return Math.max(...lengths);
}

type Measured = Omit<ModelChecks, 'model' | 'type' | 'kv' | 'allowed' | 'error' | 'passed'>;

function check(model: GoldenModel, format: Format): Measured {
  const runner = open(model, format, true);
  try {
    const driver = new PagedDriver(runner, longestOf(model));
    const logitsError = Math.max(...CHUNKS.map((chunk) => worstError(driver, model.logits, chunk)));
    if (model.tokens.length === 0) {
      return { logitsError, equal: null, largestMargin: null, alone: null, withoutGraphs: null };
    }
    const prompts = model.tokens.map(({ prompt }) => prompt);
    const length = model.tokens[0]?.expected.length ?? 0;
    const outputs = driver.generate(prompts, length);
    const margins: number[] = [];
    model.tokens.forEach(({ prompt, expected }, i) => {
      const at = expected.findIndex((token, step) => outputs[i]?.[step] !== token);
      if (at >= 0) margins.push(lead(driver, [...prompt, ...expected.slice(0, at)], expected[at] ?? 0));
    });
    const alone = prompts.slice(0, ALONE).map((prompt) => driver.generate([prompt], length)[0] ?? []);
    const plain = withoutGraphs(model, format, { prompts, length });
    return {
      logitsError,
      equal: [outputs.length - margins.length, outputs.length],
      largestMargin: margins.length === 0 ? null : Math.max(...margins),
      alone: equalOf(alone, outputs.slice(0, ALONE)),
      withoutGraphs: equalOf(plain, outputs),
    };
  } finally {
    runner.dispose();
  }
}

function withoutGraphs(
  model: GoldenModel,
  format: Format,
  { prompts, length }: { prompts: readonly (readonly number[])[]; length: number },
): readonly (readonly number[])[] {
  const runner = open(model, format, false);
  try {
    return new PagedDriver(runner, longestOf(model)).generate(prompts, length);
  } finally {
    runner.dispose();
  }
}

function equalOf(a: readonly (readonly number[])[], b: readonly (readonly number[])[]): readonly [number, number] {
  return [a.filter((ids, i) => ids.join() === b[i]?.join()).length, a.length];
}

/** By how much this runner prefers its own next token to `expected`. */
function lead(driver: PagedDriver, ids: readonly number[], expected: number): number {
  const { logprobs } = driver.run([{ sequence: 0, start: 0, ids, sample: { ...GREEDY, logprobs: 20 } }]);
  const top = logprobs?.[0]?.top ?? [];
  const wanted = top.find(({ id }) => id === expected);
  return wanted === undefined ? Infinity : (top[0]?.logprob ?? 0) - wanted.logprob;
}

/** Over all cases in one ragged batch: prompts in pieces of `chunk` tokens, then the case's own ids one a step. */
function worstError(driver: PagedDriver, cases: readonly LogitsCase[], chunk: number): number {
  const done = cases.map(() => 0);
  let worst = 0;
  while (cases.some(({ ids }, i) => (done[i] ?? 0) < ids.length)) {
    const rows: DrivenRow[] = [];
    const wanted: (ArrayLike<number> | undefined)[] = [];
    cases.forEach(({ ids, promptLength, logits }, sequence) => {
      const start = done[sequence] ?? 0;
      if (start >= ids.length) return;
      const end = start < promptLength ? Math.min(promptLength, start + chunk) : start + 1;
      const drawn = end >= promptLength;
      rows.push({ sequence, start, ids: ids.slice(start, end), sample: drawn ? { ...GREEDY, logprobs: 20 } : null });
      if (drawn) wanted.push(logits[end - promptLength]);
      done[sequence] = end;
    });
    worst = Math.max(worst, ...errors(driver.run(rows), wanted));
  }
  return worst;
}

function errors({ logprobs }: StepResult, wanted: readonly (ArrayLike<number> | undefined)[]): readonly number[] {
  return wanted.map((logits, draw) => {
    if (logits === undefined) return NaN;
    const values = Array.from(logits);
    const top = Math.max(...values);
    const normalizer = Math.log(values.reduce((sum, logit) => sum + Math.exp(logit - top), 0)) + top;
    const largest = Math.max(...values.map(Math.abs));
    const differences = (logprobs?.[draw]?.top ?? []).map(({ id, logprob }) =>
      Math.abs(logprob - ((values[id] ?? NaN) - normalizer)),
    );
    return differences.length === 0 ? NaN : Math.max(...differences) / largest;
  });
}
