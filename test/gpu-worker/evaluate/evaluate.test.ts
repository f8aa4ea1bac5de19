import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { calibrationPrompts } from '../../../gpu-worker/evaluate/calibration-prompts.ts';
import { evaluate, layersToKeep } from '../../../gpu-worker/evaluate/evaluate.ts';
import { pruneLayers, scoreWith } from '../../../gpu-worker/evaluate/prune.ts';
import { readTexts, type ReadTextsOptions, type ScoredText } from '../../../gpu-worker/evaluate/scored-text.ts';
import { perplexityOf, Scorer } from '../../../gpu-worker/evaluate/scorer.ts';
import { LLM } from '../../../gpu-worker/llm.ts';
import type { LoadOptions } from '../../../gpu-worker/llm.ts';
import type { ChatMessage } from '../../../shared/protocol.ts';
import { readModelConfig } from '../../../gpu-worker/model/config.ts';
import { planWeights } from '../../../gpu-worker/model/cpu-decoder.ts';
import { chooseCpuKvType } from '../../../gpu-worker/model/kv-calibration.ts';
import { rememberedRanges, type CalibrationProgress } from '../../../gpu-worker/model/kv-ranges.ts';
import { openModel } from '../../../gpu-worker/model/load.ts';
import { openWeights } from '../../../gpu-worker/model/open-weights.ts';
import { openSafetensors } from '../../../gpu-worker/model/safetensors.ts';
import { LogitsRun } from '../model/logits-run.ts';
import { Driver, fixture, GREEDY } from '../model/plans.ts';

const inTree = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));
const EMBEDDED = inTree('models/millrace-mini');
const TINY = fixture('tiny-llama');

let folder: string;
beforeAll(() => (folder = mkdtempSync(join(tmpdir(), 'evaluate-'))));
afterAll(() => rmSync(folder, { recursive: true }));

function tinyWeights() {
  const config = readModelConfig(TINY);
  const source = openSafetensors(TINY);
  const from = { source, folder: TINY, quantization: 'none', cache: null, threads: 1, onProgress: () => {} } as const;
  const weights = openWeights(planWeights(config, null), from);
  source.close();
  return { config, weights };
}

/** Ids below 500 that follow no rule. */
const someIds = (count: number, seed: number) =>
  Int32Array.from({ length: count }, (_, i) => (i * 7919 + seed * 104_729) % 500);

test('a loss is the sum over steps of one token, in however many runs', () => {
  const { config, weights } = tinyWeights();
  const texts = [
    { ids: someIds(9, 1), given: 1 },
    { ids: someIds(300, 2), given: 120 },
    { ids: someIds(270, 3), given: 260 },
  ];
  const scorer = new Scorer(config, weights, { capacity: 300 });
  const score = scorer.score(texts);
  scorer.free();
  weights.free();
  const run = new LogitsRun(TINY, { slots: 1, capacity: 300 });
  let loss = 0;
  for (const { ids, given } of texts) {
    for (let i = 0; i + 1 < ids.length; i++) {
      const [logits = new Float32Array()] = run.step([{ slot: 0, start: i, ids: [ids[i] ?? 0], sample: GREEDY }]);
      const sum = logits.reduce((total, logit) => total + Math.exp(logit), 0);
      if (i + 1 >= given) loss += Math.log(sum) - (logits[ids[i + 1] ?? 0] ?? NaN);
    }
  }
  run.free();
  expect(score.tokens).toBe(8 + 180 + 10);
  expect(score.loss).toBeCloseTo(loss, 2);
});

describe('texts', () => {
  const options = { model: EMBEDDED, vocabSize: 6144, eosId: 2, maxTokens: 64, longTexts: 'cut' } as const;
  const read = (lines: readonly string[], name = 'texts.jsonl', how: Partial<ReadTextsOptions> = {}) => {
    const path = join(folder, name);
    writeFileSync(path, lines.join('\n'));
    return readTexts(path, { ...options, ...how });
  };

  test('count all but the first token, chats what the model says and its end', () => {
    const [plain, object, prompt, first, second] = read([
      '"The cat sat."',
      '{"text": "The cat sat.", "kind": "text"}',
      '{"prompt": "The cat sat.", "max_tokens": 5}',
      '',
      JSON.stringify({
        messages: [
          { role: 'user', content: 'Hello' },
          { role: 'assistant', content: 'Hi.' },
          { role: 'user', content: 'Bye' },
          { role: 'assistant', content: 'Good <|im_end|> bye.' },
        ],
      }),
    ]);
    expect([object, prompt]).toEqual([plain, plain]);
    expect(plain?.given).toBe(1);
    expect(first?.ids.at(-1)).toBe(2);
    expect(second?.given).toBeGreaterThan(first?.ids.length ?? Infinity);
    // A control token that somebody wrote is text.
    expect([...(second?.ids.subarray(second.given) ?? [])].filter((id) => id === 2)).toHaveLength(1);
  });

  test('are cut, and one whole file is one text', () => {
    const [text] = read(['word '.repeat(100)], 'text.txt');
    expect(text?.ids).toHaveLength(64);
  });

  /** The tokens that count, text by text. */
  const counted = (texts: readonly ScoredText[]) => texts.map(({ ids, given }) => [...ids.subarray(given)]);

  test.each([
    ['nothing', EMBEDDED],
    ['a token', inTree('test/fixtures/chat/turns')],
  ])('are split where they are long, each token in one place, for a model that puts %s before a text', (_, model) => {
    const how = { model, vocabSize: 10_000 };
    const long = ['The cat sat on the mat, and so on. '.repeat(20)];
    const [whole] = read(long, 'text.txt', { ...how, maxTokens: 10_000 });
    const texts = read(long, 'text.txt', { ...how, longTexts: 'split' });
    expect(texts.length).toBeGreaterThan(2);
    expect(counted(texts).flat()).toEqual([...(whole?.ids.subarray(1) ?? [])]);
    for (const { ids } of texts) expect(ids.length).toBeLessThanOrEqual(64);
    for (const [i, { ids, given }] of texts.slice(1).entries()) {
      expect(given).toBe(1);
      expect(ids[0]).toBe(model === EMBEDDED ? texts[i]?.ids.at(-1) : whole?.ids[0]);
    }
  });

  test('of a chat are split in what the model says, be its prompt longer than a piece', () => {
    const said = 'A cat sat. '.repeat(60);
    for (const asked of ['Why?', 'Why did it sit on that mat? '.repeat(40)]) {
      const chat = {
        messages: [
          { role: 'user', content: asked },
          { role: 'assistant', content: said },
        ],
      };
      const all = counted(read([JSON.stringify(chat)], 'chat.jsonl', { maxTokens: 10_000 }));
      const texts = read([JSON.stringify(chat)], 'chat.jsonl', { longTexts: 'split' });
      expect(texts.length).toBeGreaterThan(2);
      expect(counted(texts).flat()).toEqual(all.flat());
    }
  });

  test('of tokens that the model does not have are refused with their line', () => {
    const path = join(folder, 'beyond.jsonl');
    writeFileSync(path, '"The cat sat."');
    const few = { ...options, vocabSize: 5 };
    expect(() => readTexts(path, few)).toThrow(/beyond\.jsonl:1: .*token \d+ is not among the model's, 0 to 4/);
  });

  test('are no others for a byte order mark before them', () => {
    expect(read(['\uFEFF"one"', '"two"'])).toEqual(read(['"one"', '"two"']));
    expect(read(['\uFEFFone'], 'text.txt')).toEqual(read(['one'], 'text.txt'));
  });

  test.each([['{'], ['{"messages": []}'], ['{"messages": [{"role": "robot", "content": "x"}]}'], ['7']])(
    '%s is refused with its line',
    (line) => expect(() => read(['"fine"', line])).toThrow(/texts\.jsonl:2: not a text to judge a model by/),
  );

  test('a line of another form is told the forms', () => {
    expect(() => read(['{"prompt": [1, 2]}'])).toThrow(/give a JSON string, {"text": "…"}, {"prompt": "…"} or/);
  });
});

// Every fifteenth text of the held-out set; `npm run bench:quantization` has all of it.
test(
  'int8 and int4 of the embedded model foretell its held-out set nearly as well as float32',
  { timeout: 300_000 },
  () => {
    const lines = readFileSync(inTree('infra/model/heldout.jsonl'), 'utf8').split('\n');
    const input = join(folder, 'heldout.jsonl');
    writeFileSync(input, lines.filter((_, i) => i % 15 === 0).join('\n'));
    const model = { folder: EMBEDDED, threads: 2 };
    const whole = evaluate({ ...model, quantization: 'none' }, input);
    expect(whole.score.tokens).toBeGreaterThan(1500);
    expect(perplexityOf(whole.score)).toBeLessThan(1.08);
    expect(whole.bitsPerWeight).toBeCloseTo(32, 1);
    const ratio = (quantization: 'int8' | 'int4', quantizationBlockSize: 32 | 128) => {
      const { score, bitsPerWeight } = evaluate({ ...model, quantization, quantizationBlockSize }, input);
      return { ratio: perplexityOf(score) / perplexityOf(whole.score), bitsPerWeight };
    };
    const [int8, int4, coarse] = [ratio('int8', 32), ratio('int4', 32), ratio('int4', 128)];
    expect(int8.ratio).toBeLessThan(1.01);
    expect(int8.bitsPerWeight).toBeCloseTo(9, 1);
    expect(int4.ratio).toBeLessThan(1.05);
    expect(int4.bitsPerWeight).toBeCloseTo(5, 1);
    expect(coarse.ratio).toBeLessThan(1.05);
    expect(coarse.bitsPerWeight).toBeCloseTo(4.25, 1);
    expect(whole.kvType).toBe('float32');
    const kv = evaluate({ ...model, quantization: 'none', kvCacheDtype: 'int8' }, input);
    expect(kv.kvType).toBe('int8');
    expect(kv.score.loss).not.toBe(whole.score.loss);
    expect(Math.abs(perplexityOf(kv.score) / perplexityOf(whole.score) - 1)).toBeLessThan(0.001);
  },
);

describe('an int8 KV cache', () => {
  test.each([
    ['auto', 'none', 4096, true, 'float32'],
    ['auto', 'int4', 4096, true, 'int8'],
    ['auto', 'int4', 4096, false, 'float32'],
    ['auto', 'int8', 1024, true, 'int8'],
    ['auto', 'int4', 1023, true, 'float32'],
    ['float32', 'int4', 4096, true, 'float32'],
    ['int8', 'none', 16, false, 'int8'],
  ] as const)(
    '%s, weights %s, %i tokens, full steps %s: %s',
    (choice, quantization, maxModelLen, fullSteps, expected) => {
      expect(chooseCpuKvType({ choice, quantization, maxModelLen, fullSteps })).toBe(expected);
    },
  );

  const prompts = calibrationPrompts(EMBEDDED, 6144);

  test('is measured on prompts in the model’s own tokens and chat template', () => {
    const all = prompts.read();
    expect(all.length).toBeGreaterThanOrEqual(12);
    expect(all.reduce((sum, ids) => sum + ids.length, 0)).toBeGreaterThan(800);
    // <|im_start|>user: chats are rendered.
    expect(all.filter((ids) => ids[0] === all[0]?.[0]).length).toBeGreaterThanOrEqual(8);
    expect(calibrationPrompts(TINY, 500).identity).toBe(prompts.identity);
  });

  test('gives the texts that float32 gives, in a batch and alone', { timeout: 180_000 }, async () => {
    const chats = readFileSync(inTree('infra/model/heldout.jsonl'), 'utf8').split('\n').slice(0, 24);
    const prompts = chats.map((line) => (JSON.parse(line) as { messages: ChatMessage[] }).messages.slice(0, 1));
    const texts = async (options: LoadOptions): Promise<readonly string[]> => {
      const model = {
        model: EMBEDDED,
        maxModelLen: 512,
        device: 'cpu',
        threads: 2,
        quantizationCache: 'none',
      } as const;
      await using llm = await LLM.load({ ...model, ...options });
      const found: string[] = [];
      for await (const { index, outputs } of llm.generate(prompts, { temperature: 0, maxTokens: 40 })) {
        found[index] = outputs[0]?.text ?? '';
      }
      return found;
    };
    const exact = await texts({ maxNumSeqs: 8, kvCacheDtype: 'float32' });
    const equal = (found: readonly string[]) => found.filter((text, i) => text === exact[i]).length;
    expect(equal(await texts({ maxNumSeqs: 8, kvCacheDtype: 'int8' }))).toBeGreaterThanOrEqual(22);
    const alone = { maxNumSeqs: 1, maxNumBatchedTokens: 16, kvCacheDtype: 'int8' } as const;
    expect(equal(await texts(alone))).toBeGreaterThanOrEqual(22);
  });

  test('is measured once; another start reads what was found', { timeout: 60_000 }, () => {
    const cache = join(folder, 'kv');
    let read = 0;
    const counted = { ...prompts, read: () => (read++, prompts.read()) };
    const sizes = { maxNumSeqs: 2, kvCacheTokens: null, maxModelLen: 256, threads: 1, maxStepTokens: 64 };
    const heard: CalibrationProgress[] = [];
    const onCalibration = (progress: CalibrationProgress) => void heard.push(progress);
    const from = { calibration: counted, onCalibration };
    const model = { folder: EMBEDDED, quantization: 'none', quantizationCache: cache, ...from } as const;
    const open = (kvCacheDtype: 'float32' | 'int8') => {
      const runner = openModel({ ...model, ...sizes, kvCacheDtype });
      const { fingerprint } = runner.info;
      const drawn = new Driver(runner).generate([...(prompts.read()[0] ?? [])].slice(0, 60), 12, {
        slot: 0,
        chunk: 40,
      });
      runner.dispose();
      return { fingerprint, drawn };
    };
    const exact = open('float32');
    expect(read).toBe(0);
    const first = open('int8');
    expect(read).toBe(1);
    const total = prompts.read().reduce((sum, ids) => sum + Math.min(ids.length, sizes.maxModelLen), 0);
    expect(heard.length).toBeGreaterThanOrEqual(prompts.read().length);
    expect(heard.at(-1)).toEqual({ done: total, total });
    expect(open('int8')).toEqual(first);
    expect(read).toBe(1);
    expect(heard.filter(({ done }) => done === total)).toHaveLength(1);
    expect(first.drawn).toEqual(exact.drawn);
    expect(first.fingerprint).not.toBe(exact.fingerprint);
    const [file = ''] = readdirSync(cache).filter((name) => name.endsWith('.kv-ranges'));
    const damaged = readFileSync(join(cache, file));
    damaged[100] = (damaged[100] ?? 0) ^ 1;
    writeFileSync(join(cache, file), damaged);
    expect(open('int8')).toEqual(first);
    expect(read).toBe(2);
    expect(() => openModel({ ...model, ...sizes, kvCacheDtype: 'fp8' })).toThrow('on a CPU take auto, float32 or int8');
  });

  test('are measured where no folder can keep them', () => {
    const file = join(folder, 'no-folder');
    writeFileSync(file, '');
    const ranges = Float32Array.of(1, 2);
    expect(rememberedRanges(join(file, 'x.kv-ranges'), ranges.length, () => ranges)).toEqual(ranges);
  });
});

describe('pruning', () => {
  test('drops the layers without which the loss is least', () => {
    const { config, weights } = tinyWeights();
    const texts = [{ ids: someIds(60, 4), given: 1 }];
    const all = Array.from({ length: config.layers }, (_, layer) => layer);
    const progress: number[] = [];
    const steps = pruneLayers(1, { config, weights, texts, onProgress: ({ done }) => progress.push(done) });
    const losses = all.map((dropped) => {
      return scoreWith(
        all.filter((layer) => layer !== dropped),
        { config, weights, texts },
      ).loss;
    });
    const best = losses.indexOf(Math.min(...losses));
    expect(config.layers).toBeGreaterThan(1);
    expect(new Set(losses).size).toBe(config.layers);
    expect(steps).toMatchObject([{ dropped: best, kept: all.filter((layer) => layer !== best) }]);
    expect(progress).toEqual(all.map((layer) => layer + 1));
    expect(() => pruneLayers(config.layers, { config, weights, texts })).toThrow('at least one must stay');
    weights.free();
  });

  test('is measured once, served, and told by the fingerprint', { timeout: 120_000 }, async () => {
    const cache = join(folder, 'cache');
    const model = { folder: EMBEDDED, quantization: 'int4', quantizationCache: cache, threads: 2 } as const;
    let measured = 0;
    const onPruning = () => measured++;
    const calibration = join(folder, 'calibration.jsonl');
    writeFileSync(calibration, '"The cat sat on the mat."');
    const kept = layersToKeep({ ...model, pruneLayers: 1, pruneCalibration: calibration, onPruning });
    expect(kept).toHaveLength(6);
    expect(measured).toBe(7);
    expect(layersToKeep({ ...model, pruneLayers: 1, pruneCalibration: calibration, onPruning })).toEqual(kept);
    expect(measured).toBe(7);
    const options = {
      model: EMBEDDED,
      quantization: 'int4',
      quantizationCache: cache,
      maxNumSeqs: 2,
      threads: 2,
    } as const;
    const fingerprints: string[] = [];
    for (const pruneLayers of [0, 1]) {
      await using llm = await LLM.load({ ...options, pruneLayers, pruneCalibration: calibration });
      fingerprints.push(llm.info.fingerprint);
      for await (const { outputs } of llm.generate('The', { maxTokens: 4 })) expect(outputs[0]?.text).not.toBe('');
    }
    expect(new Set(fingerprints).size).toBe(2);
  });

  test('needs no folder to remember it in', () => {
    const file = join(folder, 'short.jsonl');
    writeFileSync(file, '"The cat."');
    const model = { folder: EMBEDDED, quantization: 'none', quantizationCache: file, threads: 2 } as const;
    expect(layersToKeep({ ...model, pruneLayers: 1, pruneCalibration: file })).toHaveLength(6);
  });

  test.each([
    [{ pruneLayers: 7 }, /has 7 layers, 7 cannot be dropped: lower --prune-layers/],
    [{ pruneLayers: 1, pruneCalibration: '/nowhere.txt' }, /\/nowhere\.txt is not there; give --prune-calibration/],
  ])('%j is refused', (pruning, message) => {
    const model = { folder: EMBEDDED, quantization: 'none', threads: 1, ...pruning } as const;
    expect(() => layersToKeep(model)).toThrow(message);
  });
});
