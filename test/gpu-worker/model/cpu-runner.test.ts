import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import type { ModelRunner } from '../../../gpu-worker/engine/runner.ts';
import { PLACEHOLDER } from '../../../gpu-worker/engine/step-plan.ts';
import type { SampleSpec, StepResult } from '../../../gpu-worker/engine/step-plan.ts';
import { readModelConfig } from '../../../gpu-worker/model/config.ts';
import { createRunner } from '../../../gpu-worker/model/load.ts';
import { openSafetensors } from '../../../gpu-worker/model/safetensors.ts';
import { Driver, fixture, golden, goldenNames, GREEDY, openFixture } from './plans.ts';
import type { RowSpec } from './plans.ts';

const { cases } = golden('tiny-llama');
const [first, second, third, long] = cases;
if (first === undefined || second === undefined || third === undefined || long === undefined)
  throw new Error('fixtures');

const LOGPROBS: SampleSpec = { ...GREEDY, logprobs: 20 };

let runner: ModelRunner;
afterEach(() => runner.dispose());

function open(...args: Parameters<typeof openFixture>): Driver {
  runner = openFixture(...args);
  return new Driver(runner);
}

/** Largest difference of log probabilities over the likeliest tokens, relative to the largest of them. */
function relativeError(result: StepResult, expected: StepResult): number {
  expect([...result.tokens]).toEqual([...expected.tokens]);
  let [error, largest] = [0, 0];
  result.logprobs?.forEach((logprobs, draw) => {
    const others = new Map(expected.logprobs?.[draw]?.top.map(({ id, logprob }) => [id, logprob]));
    for (const { id, logprob } of logprobs?.top ?? []) {
      error = Math.max(error, Math.abs(logprob - (others.get(id) ?? Infinity)));
      largest = Math.max(largest, Math.abs(logprob));
    }
  });
  expect(largest).toBeGreaterThan(0);
  return error / largest;
}

/** The results of several steps as one. */
function joined(results: readonly StepResult[]): StepResult {
  const tokens = Int32Array.from(results.flatMap((result) => [...result.tokens]));
  const logprobs = results.flatMap((result) => result.logprobs ?? []);
  return { planId: 0, tokens, logprobs, runMs: 0, sampleMs: 0 };
}

test.each(goldenNames())('%s: log probabilities of the likeliest tokens within 1e-4 of the largest logit', (name) => {
  const driver = open(name);
  for (const { prompt, logits } of golden(name).logits) {
    const { logprobs } = driver.run([{ slot: 2, start: 0, ids: prompt, sample: LOGPROBS }]);
    const largest = Math.max(...logits.map(Math.abs));
    const top = Math.max(...logits);
    const normalizer = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - top), 0)) + top;
    const errors = (logprobs?.[0]?.top ?? []).map(({ id, logprob }) =>
      Math.abs(logprob - ((logits[id] ?? NaN) - normalizer)),
    );
    expect(errors).toHaveLength(20);
    expect(Math.max(...errors) / largest).toBeLessThan(1e-4);
  }
});

describe('rows of one step', () => {
  /** Prompts of different lengths in KV, then decodes in two ranges of slots, two chunks, two verifications. */
  const prepare: readonly RowSpec[] = [
    { slot: 0, start: 0, ids: long.prompt.slice(0, 40), sample: null },
    { slot: 1, start: 0, ids: second.prompt, sample: null },
    { slot: 2, start: 0, ids: third.prompt, sample: null },
    { slot: 4, start: 0, ids: long.prompt, sample: null },
    { slot: 7, start: 0, ids: first.prompt, sample: null },
  ];
  const mixed: readonly RowSpec[] = [
    { slot: 7, start: first.prompt.length, ids: [3], sample: LOGPROBS },
    { slot: 0, start: 40, ids: long.prompt.slice(40, 73), sample: LOGPROBS },
    { slot: 2, start: third.prompt.length, ids: [9], sample: LOGPROBS },
    { slot: 4, start: long.prompt.length, ids: [9, 8, 7, 6], draws: 4, sample: LOGPROBS },
    { slot: 9, start: 0, ids: long.prompt.slice(0, 90), sample: null },
    { slot: 1, start: second.prompt.length, ids: [4], sample: LOGPROBS },
    { slot: 3, start: 0, ids: second.prompt.slice(0, 3), draws: 2, sample: LOGPROBS },
  ];

  test.each([
    ['none', 'float32'],
    ['int8', 'float32'],
    ['int4', 'float32'],
    ['none', 'int8'],
    ['int4', 'int8'],
  ] as const)('give the logits and KV of steps of their own (weights %s, KV %s)', (quantization, kvCacheDtype) => {
    const driver = open('tiny-llama', { quantization, kvCacheDtype });
    driver.step(prepare);
    const together = driver.run(mixed);
    const after = mixed.map(({ slot, start, ids }): RowSpec => {
      return { slot, start: start + ids.length, ids: [11], sample: LOGPROBS };
    });
    const next = driver.run(after);
    driver.step(prepare);
    const alone = joined(mixed.map((row) => driver.run([row])).filter(({ tokens }) => tokens.length > 0));
    expect(alone.tokens).toHaveLength(10);
    expect(relativeError(together, alone)).toBeLessThan(1e-5);
    expect(relativeError(next, joined(after.map((row) => driver.run([row]))))).toBeLessThan(1e-5);
  });

  test('more parts than bindings are kept for', () => {
    const driver = open('tiny-llama', { maxStepTokens: 4096 });
    const rows = cases.slice(0, 30).map(({ prompt }, i) => ({ slot: 2 * i, start: 0, ids: prompt, sample: GREEDY }));
    expect([...driver.step(rows)]).toEqual(cases.slice(0, 30).map(({ expected }) => expected[0]));
    const decodes = rows.map(({ slot, ids }, i): RowSpec => {
      return { slot, start: ids.length, ids: cases[i]?.expected.slice(0, 1) ?? [], sample: GREEDY };
    });
    expect([...driver.step(decodes)]).toEqual(cases.slice(0, 30).map(({ expected }) => expected[1]));
  });

  test('leave slots between theirs alone', () => {
    const driver = open('tiny-llama', { maxModelLen: long.prompt.length });
    driver.step([{ slot: 1, start: 0, ids: long.prompt, sample: null }]);
    const around = [0, 2].map((slot) => ({ slot, start: 0, ids: [5], sample: GREEDY }));
    for (let start = 0; start < 20; start++) driver.step(around.map((row) => ({ ...row, start })));
    const last = long.prompt.length - 1;
    const row = { slot: 1, start: last, ids: long.prompt.slice(last), sample: GREEDY };
    expect([...driver.step([row])]).toEqual(long.expected.slice(0, 1));
  });

  test('none, or none that draws', () => {
    const driver = open('tiny-llama');
    expect(driver.run([])).toMatchObject({ tokens: new Int32Array(0), logprobs: null });
    const chunk = { slot: 0, start: 0, ids: third.prompt, sample: null };
    expect(driver.run([chunk])).toMatchObject({ tokens: new Int32Array(0), logprobs: null });
    const rest = { slot: 0, start: third.prompt.length - 1, ids: third.prompt.slice(-1), sample: GREEDY };
    expect([...driver.step([rest])]).toEqual(third.expected.slice(0, 1));
  });
});

describe('verification', () => {
  /** Greedy decoding with drafts from `draft`, which sees the output so far; a chunk runs beside every step. */
  const generate = (driver: Driver, draft: (output: readonly number[]) => readonly number[]): number[] => {
    const output = [...driver.step([{ slot: 1, start: 0, ids: third.prompt, sample: GREEDY }])];
    for (let beside = 0; output.length < third.expected.length; beside += 2) {
      const drafts = draft(output);
      const tokens = driver.step([
        { slot: 0, start: beside, ids: [1, 2], sample: null },
        {
          slot: 1,
          start: third.prompt.length + output.length - 1,
          ids: [...output.slice(-1), ...drafts],
          draws: 1 + drafts.length,
          sample: GREEDY,
        },
      ]);
      const wrong = drafts.findIndex((token, i) => token !== tokens[i]);
      output.push(...tokens.subarray(0, wrong < 0 ? tokens.length : wrong + 1));
    }
    return output.slice(0, third.expected.length);
  };

  test.each<[string, (output: readonly number[]) => readonly number[]]>([
    ['right', (output) => third.expected.slice(output.length, output.length + 4)],
    ['wrong', () => [500, 501, 502]],
    ['right, then wrong', (output) => [...third.expected.slice(output.length, output.length + 2), 500, 501]],
    ['of changing number', (output) => third.expected.slice(output.length, output.length + (output.length % 4))],
  ])('drafts %s give the tokens of plain decoding, and the same KV', (_, draft) => {
    const driver = open('tiny-llama');
    expect(generate(driver, draft)).toEqual(third.expected);
    const at = third.prompt.length + third.expected.length - 1;
    const probe = { start: at, ids: third.expected.slice(-1), sample: LOGPROBS };
    const verified = driver.run([{ ...probe, slot: 1 }]);
    driver.generate(third.prompt, third.expected.length, { slot: 2, chunk: 1000 });
    expect(relativeError(verified, driver.run([{ ...probe, slot: 2 }]))).toBeLessThan(1e-5);
  });

  test('seeded draws are those of plain decoding, each with its own output index', () => {
    const driver = open('tiny-llama');
    const sample: SampleSpec = { ...GREEDY, temperature: 1, seed: [3, 4] };
    const output = [...driver.step([{ slot: 0, start: 0, ids: third.prompt, sample }])];
    while (output.length < 6) {
      const row = { slot: 0, start: third.prompt.length + output.length - 1, ids: output.slice(-1) };
      output.push(...driver.step([{ ...row, sample: { ...sample, index: output.length } }]));
    }
    const start = third.prompt.length;
    const verify = { slot: 0, start, ids: output.slice(0, 5), draws: 5, sample: { ...sample, index: 1 } };
    expect([...driver.step([verify])]).toEqual(output.slice(1));
    expect(new Set(output).size).toBeGreaterThan(2);
  });
});

describe('KV copies and drops', () => {
  const prefix = long.prompt.length - 10;
  const rest: Omit<RowSpec, 'slot'> = { start: prefix, ids: long.prompt.slice(prefix), sample: LOGPROBS };

  test('a copied prefix equals one computed anew, in both slots', () => {
    const driver = open('tiny-llama');
    const computed = driver.run([{ slot: 5, start: 0, ids: long.prompt, sample: LOGPROBS }]);
    driver.step([{ slot: 3, start: 0, ids: long.prompt.slice(0, prefix), sample: null }]);
    const copied = driver.run([{ slot: 0, ...rest }], { copies: [{ from: 3, to: 0, tokens: prefix }] });
    expect(relativeError(copied, computed)).toBeLessThan(1e-5);
    expect(relativeError(driver.run([{ slot: 3, ...rest }]), computed)).toBeLessThan(1e-5);
  });

  test('copies run in order: rows swap slots by way of a third', () => {
    const driver = open('tiny-llama');
    driver.step([
      { slot: 0, start: 0, ids: long.prompt.slice(0, prefix), sample: null },
      { slot: 1, start: 0, ids: second.prompt, sample: null },
    ]);
    const copies = [
      { from: 0, to: 2, tokens: prefix },
      { from: 1, to: 0, tokens: second.prompt.length },
      { from: 2, to: 1, tokens: prefix },
    ];
    const decode = { slot: 0, start: second.prompt.length, ids: second.expected.slice(0, 1), sample: GREEDY };
    const tokens = driver.step([decode, { slot: 1, ...rest }], { copies });
    expect([...tokens]).toEqual([second.expected[1], long.expected[0]]);
  });

  test('a drop keeps the positions before it, and the slot serves again', () => {
    const driver = open('tiny-llama');
    driver.step([{ slot: 1, start: 0, ids: [...long.prompt, 1, 2, 3], sample: null }]);
    expect([...driver.step([{ slot: 1, ...rest }], { drops: [{ block: 1, tokens: prefix }] })]).toEqual([
      long.expected[0],
    ]);
    const again = { slot: 1, start: 0, ids: third.prompt, sample: GREEDY };
    expect([...driver.step([again], { drops: [{ block: 1, tokens: 0 }] })]).toEqual([third.expected[0]]);
  });

  test('a slot is used again by a shorter sequence', () => {
    const driver = open('tiny-llama');
    driver.generate(long.prompt, 3, { slot: 0, chunk: 64 });
    expect(driver.generate(second.prompt, second.expected.length, { slot: 0, chunk: 64 })).toEqual(second.expected);
  });
});

test('a placeholder stands for the token that the plan before drew', () => {
  const driver = open('tiny-llama');
  const { prompt, expected } = third;
  const other = { slot: 1, sequence: 8, start: 0, ids: prompt, draws: 2, sample: GREEDY };
  driver.step([other, { slot: 0, sequence: 9, start: 0, ids: prompt, sample: GREEDY }]);
  const next = { start: prompt.length, ids: [PLACEHOLDER], sample: GREEDY };
  expect(() => driver.step([{ ...next, slot: 1, sequence: 8 }])).toThrow('drew no token for sequence 8');
  expect([...driver.step([{ ...next, slot: 0, sequence: 9 }])]).toEqual([expected[1]]);
});

describe('drawing', () => {
  const sampled: SampleSpec = { ...GREEDY, temperature: 1, seed: [1, 2] };

  test('a seeded row draws the same token alone, in a batch and beside greedy rows', () => {
    const driver = open('tiny-llama');
    const specs = Array.from({ length: 20 }, (_, index): SampleSpec => ({ ...sampled, index }));
    const row = { slot: 0, start: 0, ids: third.prompt };
    const alone = specs.map((sample) => driver.step([{ ...row, sample }])[0]);
    const batched = specs.map((sample) => {
      const others = [1, 2].map((slot) => ({
        slot,
        start: 0,
        ids: second.prompt,
        sample: slot === 1 ? GREEDY : sampled,
      }));
      return driver.step([...others, { ...row, slot: 3, sample }])[2];
    });
    expect(batched).toEqual(alone);
    expect(new Set(alone).size).toBeGreaterThan(5);
  });

  test.each([0, 1])('logits that are not numbers fail their row alone (temperature %i)', (temperature) => {
    const folder = fixture('tiny-llama-untied');
    const weights = openSafetensors(folder);
    const poisoned: typeof weights = {
      ...weights,
      readRows(name, part, target) {
        weights.readRows(name, part, target);
        if (name.startsWith('model.embed')) target[7 * part.columns] = NaN;
      },
    };
    const sizes = { maxNumSeqs: 4, kvCacheTokens: null, maxModelLen: 64, threads: 1, maxStepTokens: 64 };
    runner = createRunner(readModelConfig(folder), poisoned, { quantization: 'none', ...sizes });
    weights.close();
    const driver = new Driver(runner);
    const sample = { ...sampled, temperature };
    const good = { slot: 1, start: 0, ids: [5, 6], sample };
    const alone = driver.step([good])[0];
    const { tokens, failures } = driver.run([good, { slot: 0, start: 0, ids: [6, 7], sample }]);
    expect([...(failures?.keys() ?? [])]).toEqual([1]);
    expect(tokens[0]).toBe(alone);
    expect(driver.step([good])[0]).toBe(alone);
  });
});

describe('the state of a runner', () => {
  test('slots, limits and capacity are what the options say', () => {
    open('tiny-llama', { maxNumSeqs: 3, cacheSlots: 2, maxModelLen: 10_000, kvCacheTokens: 400, maxStepTokens: 64 });
    const { maxPositions } = readModelConfig(fixture('tiny-llama'));
    expect(runner.info).toMatchObject({
      maxNumSeqs: 3,
      maxModelLen: maxPositions,
      maxStepTokens: 64,
      kv: { kind: 'slots', blocks: 5, blockSize: maxPositions, capacityTokens: 400 },
    });
    runner.dispose();
    open('tiny-llama', { maxNumSeqs: 3, maxModelLen: 32 });
    expect(runner.info.kv).toEqual({ kind: 'slots', blocks: 6, blockSize: 32, capacityTokens: 192 });
  });

  test.each([
    ['maxNumSeqs = 0', { maxNumSeqs: 0 }],
    ['cacheSlots = -1', { cacheSlots: -1 }],
    ['--kv-cache-tokens (kvCacheTokens) is 255: it must be an integer of at least 256', { kvCacheTokens: 255 }],
    ['room for', { memoryUtilization: 1e-9 }],
  ])('refused: %s', (message, options) => {
    expect(() => openFixture('tiny-llama', options)).toThrow(message);
  });

  test('a plan that contradicts it is refused, and the next one runs', () => {
    const driver = open('tiny-llama');
    const row = { slot: 0, start: 0, ids: third.prompt, sample: GREEDY };
    expect(() => driver.step([{ ...row, start: 1 }])).toThrow('slot 0 holds 0 tokens');
    expect(() => driver.step([row], { copies: [{ from: 1, to: 0, tokens: 5 }] })).toThrow('slot 1 holds 0');
    expect([...driver.step([row])]).toEqual([third.expected[0]]);
    const again = { ...row, start: third.prompt.length + 1, ids: [1] };
    expect(() => driver.step([again])).toThrow(`slot 0 holds ${third.prompt.length} tokens`);
  });

  test('one plan at a time, and none after dispose', () => {
    open('tiny-llama');
    const plan = { id: 1, copies: [], drops: [], rows: [], tokens: 0 };
    runner.launch(plan);
    expect(() => runner.launch({ ...plan, id: 2 })).toThrow('not collected');
    expect(runner.collect().planId).toBe(1);
    expect(() => runner.collect()).toThrow('without a launched plan');
    runner.dispose();
    runner.dispose();
    expect(() => runner.launch(plan)).toThrow('disposed');
  });

  test('dispose gives back every mapping', () => {
    const mappedBytes = (): number => Number(/VmSize:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);
    open('tiny-llama', { maxNumSeqs: 64 });
    runner.dispose();
    const before = mappedBytes();
    for (let i = 0; i < 5; i++) {
      const driver = open('tiny-llama', { maxNumSeqs: 64 });
      driver.step([{ slot: 0, start: 0, ids: third.prompt, sample: GREEDY }]);
      runner.dispose();
    }
    // KV slots alone map 16 MB a runner, 80 in all; V8's heap may grow by 16 meanwhile.
    expect(mappedBytes() - before).toBeLessThan(48 * 1024);
  });
});
