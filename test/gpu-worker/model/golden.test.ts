import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ModelRunner } from '../../../gpu-worker/engine/runner.ts';
import { PromptEncoder } from '../../../gpu-worker/text/prompt.ts';
import type { ChatMessage, Prompt } from '../../../shared/protocol.ts';
import { Driver, fixture, golden, goldenNames, GREEDY, openFixture } from './plans.ts';
import type { RowSpec } from './plans.ts';

const EMBEDDED = 'millrace-mini';

/** What a prompt of the embedded model was made of: a chat or a text. */
interface MadeOf {
  readonly prompt: readonly number[];
  readonly messages?: ChatMessage[];
  readonly text?: string;
}

test('golden files of both families and of the embedded model are there, 50 prompts each', () => {
  const wanted = ['tiny-llama', 'tiny-llama-untied', 'tiny-qwen2', EMBEDDED];
  expect(goldenNames()).toEqual(expect.arrayContaining(wanted));
  for (const name of goldenNames()) expect(golden(name).cases).toHaveLength(50);
});

// Seconds on an idle machine; a busy one must not turn slowness into a failure.
describe.each(goldenNames())('%s draws the tokens of Hugging Face transformers', { timeout: 120_000 }, (name) => {
  const { cases } = golden(name);
  let runner: ModelRunner;
  let driver: Driver;

  beforeAll(() => {
    const longest = Math.max(...cases.map(({ prompt, expected }) => prompt.length + expected.length));
    runner = openFixture(name, { maxNumSeqs: cases.length, maxStepTokens: 4096, maxModelLen: longest });
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

test('the embedded model: chats and texts become the ids of transformers', () => {
  const encoder = new PromptEncoder(fixture(EMBEDDED), 6144);
  const { cases } = golden(EMBEDDED) as unknown as { readonly cases: readonly MadeOf[] };
  for (const { messages, text, prompt } of cases) {
    const asked: Prompt = messages === undefined ? { type: 'text', text: text ?? '' } : { type: 'chat', messages };
    expect([...encoder.encode(asked)]).toEqual(prompt);
  }
});
