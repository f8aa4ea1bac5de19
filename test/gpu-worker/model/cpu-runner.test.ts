import { afterEach, describe, expect, test } from 'vitest';
import type { ModelRunner } from '../../../gpu-worker/engine/runner.ts';
import { PLACEHOLDER } from '../../../gpu-worker/engine/step-plan.ts';
import type { SampleSpec } from '../../../gpu-worker/engine/step-plan.ts';
import { readModelConfig } from '../../../gpu-worker/model/config.ts';
import { createRunner } from '../../../gpu-worker/model/load.ts';
import { openSafetensors } from '../../../gpu-worker/model/safetensors.ts';
import { Driver, fixture, golden, goldenNames, GREEDY, openFixture } from './plans.ts';

const { cases } = golden('tiny-llama');
const [first, second, third, long] = cases;
if (first === undefined || second === undefined || third === undefined || long === undefined)
  throw new Error('fixtures');

let runner: ModelRunner;
afterEach(() => runner.dispose());

function open(...args: Parameters<typeof openFixture>): Driver {
  runner = openFixture(...args);
  return new Driver(runner);
}

test.each(goldenNames())('%s: log probabilities within 1e-4 of the largest logit', (name) => {
  let probs = new Float32Array();
  const driver = open(name, {
    draw: (_, fullRow) => {
      probs = Float32Array.from(fullRow);
      return 0;
    },
  });
  for (const { prompt, logits: expected } of golden(name).logits) {
    driver.step([{ slot: 2, start: 0, ids: prompt, sample: { ...GREEDY, temperature: 1 } }]);
    const largest = Math.max(...expected.map(Math.abs));
    const normalizer = Math.log(expected.reduce((sum, logit) => sum + Math.exp(logit - largest), 0)) + largest;
    const errors = expected.map((logit, id) => Math.abs(Math.log(probs[id] ?? 0) - (logit - normalizer)));
    expect(Math.max(...errors) / largest).toBeLessThan(1e-4);
  }
});

describe('slots', () => {
  test('rows that decode around an idle slot leave its tokens alone', () => {
    const driver = open('tiny-llama');
    driver.step([{ slot: 1, start: 0, ids: long.prompt, sample: null }]);
    const around = [0, 2].map((slot) => ({ slot, start: 0, ids: [5], sample: GREEDY }));
    for (let start = 0; start < 20; start++) driver.step(around.map((row) => ({ ...row, start })));
    const last = long.prompt.at(-1) ?? 0;
    const token = driver.step([{ slot: 1, start: long.prompt.length - 1, ids: [last], sample: GREEDY }])[0];
    expect(token).toBe(long.expected[0]);
  });

  test('a dummy row fits beside a slot filled to the last position', () => {
    const driver = open('tiny-llama', { maxModelLen: long.prompt.length });
    driver.step([{ slot: 1, start: 0, ids: long.prompt, sample: null }]);
    driver.step([0, 2].map((slot) => ({ slot, start: 0, ids: [5], sample: GREEDY })));
    const last = long.prompt.at(-1) ?? 0;
    const row = { slot: 1, start: long.prompt.length - 1, ids: [last], sample: GREEDY };
    expect(driver.step([row])[0]).toBe(long.expected[0]);
  });

  test('a moved sequence goes on in its new slot, a copied prefix serves both', () => {
    const driver = open('tiny-llama');
    const { prompt, expected } = long;
    const prefix = prompt.length - 10;
    driver.step([{ slot: 3, start: 0, ids: prompt.slice(0, prefix), sample: null }]);
    const rest = { start: prefix, ids: prompt.slice(prefix), sample: GREEDY };
    const moves = [{ from: 3, to: 0, tokens: prefix }];
    expect([...driver.step([{ slot: 0, ...rest }], moves)]).toEqual([expected[0]]);
    expect([...driver.step([{ slot: 3, ...rest }])]).toEqual([expected[0]]);
  });

  test('a slot is used again by a shorter sequence', () => {
    const driver = open('tiny-llama');
    driver.generate(long.prompt, 3, { slot: 0, chunk: 64 });
    expect(driver.generate(second.prompt, second.expected.length, { slot: 0, chunk: 64 })).toEqual(second.expected);
  });

  test('whole prompts, chunks and decodes share a step', () => {
    const driver = open('tiny-llama');
    driver.step([{ slot: 2, start: 0, ids: second.prompt, sample: GREEDY }]);
    const tokens = driver.step([
      { slot: 0, start: 0, ids: long.prompt.slice(0, 50), sample: null },
      { slot: 2, start: second.prompt.length, ids: second.expected.slice(0, 1), sample: GREEDY },
      { slot: 1, start: 0, ids: third.prompt, sample: GREEDY },
      { slot: 3, start: 0, ids: first.prompt, sample: GREEDY },
    ]);
    expect([...tokens]).toEqual([-1, second.expected[1], third.expected[0], first.expected[0]]);
  });
});

test('a placeholder stands for the token that the plan before drew', () => {
  const driver = open('tiny-llama');
  const { prompt, expected } = third;
  driver.step([{ slot: 0, sequence: 9, start: 0, ids: prompt, sample: GREEDY }]);
  const next = { slot: 0, start: prompt.length, ids: [PLACEHOLDER], sample: GREEDY };
  expect(() => driver.step([{ ...next, sequence: 8 }])).toThrow('drew no token for sequence 8');
  expect([...driver.step([{ ...next, sequence: 9 }])]).toEqual([expected[1]]);
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

  test('a low temperature draws the greedy token', () => {
    const driver = open('tiny-llama');
    const sample = { ...sampled, temperature: 0.001 };
    expect(driver.step([{ slot: 0, start: 0, ids: third.prompt, sample }])[0]).toBe(third.expected[0]);
  });

  test.each([0, 1])('logits that are not numbers fail the plan and name the row (temperature %i)', (temperature) => {
    const folder = fixture('tiny-llama-untied');
    const weights = openSafetensors(folder);
    const poisoned: typeof weights = {
      ...weights,
      readRows(name, shape, start, target) {
        weights.readRows(name, shape, start, target);
        if (name.startsWith('model.embed')) target[7 * shape.columns] = NaN;
      },
    };
    const options = { quantization: 'none', slots: 4, maxModelLen: 64, threads: 1, maxStepTokens: 64 } as const;
    runner = createRunner(readModelConfig(folder), poisoned, options);
    weights.close();
    const driver = new Driver(runner);
    const sample = { ...GREEDY, temperature };
    const good = { slot: 1, start: 0, ids: [5, 6], sample };
    const alone = driver.step([good])[0];
    expect(() => driver.step([good, { slot: 0, start: 0, ids: [6, 7], sample }])).toThrow('row 1 of the plan');
    expect(driver.step([good])[0]).toBe(alone);
  });
});

describe('plans that contradict the state are refused, and the next one runs', () => {
  const prompt = { slot: 0, start: 0, ids: third.prompt, sample: GREEDY };
  test.each([
    ['a slot out of range', [{ ...prompt, slot: 4 }], [], 'slot 4 does not exist'],
    ['two rows in a slot', [prompt, prompt], [], 'two rows'],
    ['a start beyond what the slot holds', [{ ...prompt, start: 1 }], [], 'its row starts at 1'],
    ['a row without tokens', [{ ...prompt, ids: [] }], [], 'empty'],
    ['a row over the context', [{ ...prompt, ids: Array.from({ length: 257 }, () => 1) }], [], 'exceed 256'],
    ['a token outside the vocabulary', [{ ...prompt, ids: [512] }], [], 'token 512'],
    ['a move of tokens that are not there', [prompt], [{ from: 1, to: 0, tokens: 5 }], 'slot 1 holds 0'],
  ])('%s', (_, rows, moves, message) => {
    const driver = open('tiny-llama');
    expect(() => driver.step(rows, moves)).toThrow(message);
    expect([...driver.step([prompt])]).toEqual([third.expected[0]]);
  });

  test('a second launch before collect', () => {
    open('tiny-llama');
    const plan = { id: 1, moves: [], rows: [], tokens: 0 };
    runner.launch(plan);
    expect(() => runner.launch({ ...plan, id: 2 })).toThrow('not collected');
    expect(runner.collect().planId).toBe(1);
    expect(() => runner.collect()).toThrow('without a launched plan');
    runner.dispose();
    expect(() => runner.launch(plan)).toThrow('disposed');
  });
});
