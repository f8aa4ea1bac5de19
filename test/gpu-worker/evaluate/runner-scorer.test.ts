/** Forced draws through a runner against the CPU's own scorer, which reads logits. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { evaluate } from '../../../gpu-worker/evaluate/evaluate.ts';
import { RunnerScorer } from '../../../gpu-worker/evaluate/runner-scorer.ts';
import { readTexts } from '../../../gpu-worker/evaluate/scored-text.ts';
import type { ModelRunner } from '../../../gpu-worker/engine/runner.ts';
import { readModelConfig } from '../../../gpu-worker/model/config.ts';
import { fixture, openFixture } from '../model/plans.ts';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const EMBEDDED = 'millrace-mini';

let folder: string;
let input: string;
let runner: ModelRunner;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'runner-scorer-'));
  input = join(folder, 'texts.jsonl');
  const said = (count: number) =>
    'A KV cache keeps keys and values of tokens, so that none is computed twice. '.repeat(count);
  const chat = (asked: string, answer: string) => ({
    messages: [
      { role: 'user', content: asked },
      { role: 'assistant', content: answer },
    ],
  });
  // Answers that begin inside a step, at its end, and after several; the last text is longer than many steps.
  const lines = [chat('What is a KV cache?', said(1)), chat(said(9), said(5)), { text: 'No.' }, { text: said(30) }];
  writeFileSync(input, lines.map((line) => JSON.stringify(line)).join('\n'));
});
afterAll(() => {
  runner.dispose();
  rmSync(folder, { recursive: true });
});

test('forced draws come to the loss that logits come to, over as many tokens', () => {
  const expected = evaluate({ folder: fixture(EMBEDDED), quantization: 'none', threads: 2 }, input).score;
  const { vocabSize, eosIds } = readModelConfig(fixture(EMBEDDED));
  const long = { maxTokens: 2048, longTexts: 'cut' } as const;
  const texts = readTexts(input, { model: fixture(EMBEDDED), vocabSize, eosId: eosIds[0] ?? null, ...long });
  expect(texts).toHaveLength(4);
  runner = openFixture(EMBEDDED, { maxNumSeqs: 1, maxModelLen: 1024, maxStepTokens: 64 });
  const heard: number[] = [];
  const score = new RunnerScorer(runner).score(texts, (done) => heard.push(done));
  expect(score.tokens).toBe(expected.tokens);
  expect(score.tokens).toBeGreaterThan(500);
  expect(Math.abs(score.loss - expected.loss) / expected.loss).toBeLessThan(1e-5);
  expect(heard).toEqual([1, 2, 3, 4]);
  // Steps of another size, the same sum.
  runner.dispose();
  runner = openFixture(EMBEDDED, { maxNumSeqs: 1, maxModelLen: 1024, maxStepTokens: 23 });
  const inOthers = new RunnerScorer(runner).score(texts);
  expect(Math.abs(inOthers.loss - expected.loss) / expected.loss).toBeLessThan(1e-5);
}, 120_000);
