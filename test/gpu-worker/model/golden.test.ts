import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ModelRunner } from '../../../gpu-worker/engine/runner.ts';
import { Driver, golden, goldenNames, GREEDY, openFixture } from './plans.ts';
import type { RowSpec } from './plans.ts';

test('golden files of both families are there, 50 prompts each', () => {
  expect(goldenNames()).toEqual(expect.arrayContaining(['tiny-llama', 'tiny-llama-untied', 'tiny-qwen2']));
  for (const name of goldenNames()) expect(golden(name).cases).toHaveLength(50);
});

describe.each(goldenNames())('%s draws the tokens of Hugging Face transformers', (name) => {
  const { cases } = golden(name);
  let runner: ModelRunner;
  let driver: Driver;

  beforeAll(() => {
    runner = openFixture(name, { slots: cases.length, maxStepTokens: 4096 });
    driver = new Driver(runner);
  });
  afterAll(() => runner.dispose());

  test('one by one, prompts whole', () => {
    for (const { prompt, expected } of cases) {
      expect(driver.generate(prompt, expected.length, { slot: 1, chunk: 1000 })).toEqual(expected);
    }
  });

  test('one by one, prompts in chunks', () => {
    cases.forEach(({ prompt, expected }, index) => {
      const chunk = 1 + (index % 40);
      expect(driver.generate(prompt, expected.length, { slot: index, chunk })).toEqual(expected);
    });
  });

  test('all in one batch of ragged lengths', () => {
    const outputs = cases.map((): number[] => []);
    const length = cases[0]?.expected.length ?? 0;
    for (let step = 0; step < length; step++) {
      const rows = cases.map(({ prompt }, slot): RowSpec => {
        const output = outputs[slot] ?? [];
        const ids = step === 0 ? prompt : output.slice(-1);
        return { slot, start: step === 0 ? 0 : prompt.length + step - 1, ids, sample: GREEDY };
      });
      driver.step(rows).forEach((token, slot) => outputs[slot]?.push(token));
    }
    expect(outputs).toEqual(cases.map(({ expected }) => expected));
  });
});
