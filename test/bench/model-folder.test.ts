import { mkdtempSync, rmSync, statSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { readModelConfig } from '../../gpu-worker/model/config.ts';
import { openSafetensors } from '../../gpu-worker/model/safetensors.ts';
import { TokenBytes } from '../../gpu-worker/text/detokenizer.ts';
import { randomModelFolder } from './model-folder.ts';
import { PromptMaker } from './prompts.ts';
import { randomWeights } from './random-model.ts';
import { tokenizerFiles } from './tokenizer-file.ts';

const cache = mkdtempSync(join(tmpdir(), 'millrace-bench-test-'));
afterAll(() => rmSync(cache, { recursive: true }));

test('the folder holds the generator’s weights in bfloat16; it is written once, and again when cut short', async () => {
  const lines: string[] = [];
  const make = () => randomModelFolder('mini-llama', (line) => lines.push(line), cache);
  const folder = await make();
  expect(lines.at(-1)).toMatch(/100 % of \d+ MB/);
  expect(readModelConfig(folder)).toMatchObject({ layers: 8, vocabSize: 4096, tiedEmbeddings: true });

  const source = openSafetensors(folder);
  const [name, shape] = ['model.layers.7.mlp.down_proj.weight', { rows: 256, columns: 1024 }] as const;
  const [read, made] = [new Float32Array(2048), new Float32Array(2048)];
  source.readRows(name, { ...shape, first: 254 }, read);
  source.close();
  randomWeights(1).readRows(name, { ...shape, first: 254 }, made);
  const worst = Math.max(...read.map((value, i) => Math.abs(value / (made[i] ?? NaN) - 1)));
  expect(worst).toBeLessThanOrEqual(2 ** -8);

  const written = lines.length;
  expect(await make()).toBe(folder);
  expect(lines).toHaveLength(written);
  const weights = join(folder, 'model.safetensors');
  const { size } = statSync(weights);
  truncateSync(weights, size - 2);
  await make();
  expect(lines.length).toBeGreaterThan(written);
  expect(statSync(weights).size).toBe(size);
});

test('all but half characters, control tokens and padding of 151,936 ids show as text', async () => {
  const folder = await randomModelFolder('mini-llama', () => {}, cache);
  const bytes = TokenBytes.fromFolder(folder);
  expect(Buffer.from(bytes.of(65)).toString()).toBe('A');
  expect(Buffer.from(bytes.of(256 + 26)).toString()).toBe(' aa');
  const silent = Array.from({ length: 151_936 }, (_, id) => id).filter((id) => bytes.of(id).length === 0);
  expect(silent).toEqual(Array.from({ length: 293 }, (_, i) => 151_643 + i));
  const { vocab } = JSON.parse(tokenizerFiles()['tokenizer.json']).model;
  expect(Object.keys(vocab)).toHaveLength(151_643);
});

test.each([
  ['the embedded model', 'models/millrace-mini', 6144, 128],
  ['single bytes', 'test/fixtures/tiny-llama', 512, 48],
])('prompts of %s have exactly the tokens asked for, and differ', (_, folder, vocabSize, promptTokens) => {
  const maker = new PromptMaker(folder, vocabSize, promptTokens);
  const prompts = Array.from({ length: 20 }, (__, i) => maker.make(String(i)));
  expect(prompts.map(({ ids }) => ids.length)).toEqual(prompts.map(() => promptTokens));
  expect(new Set(prompts.map(({ content }) => content)).size).toBe(20);
  expect(maker.make('3')).toEqual(prompts[3]);
  expect(() => new PromptMaker(folder, vocabSize, 3).make('0')).toThrow('the chat template alone has');
});
