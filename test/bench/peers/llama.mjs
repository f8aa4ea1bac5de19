/** node-llama-cpp's share of `npm run bench:peers`: sequences of one context, flash attention on, greedy. */
import { getLlama, LlamaLogLevel } from 'node-llama-cpp';
import { randomIds } from '../engine/random-ids.ts';
import { decodeRate, SAMPLE } from './work.ts';

const work = JSON.parse(process.argv[2] ?? '');
const { promptTokens, outputTokens, threads } = work;
const begin = performance.now();
const llama = await getLlama({ gpu: false, build: 'never', maxThreads: threads, logLevel: LlamaLogLevel.error });
const model = await llama.loadModel({ modelPath: work.model, defaultContextFlashAttention: true });
const loadMs = performance.now() - begin;

let prompts = 0;
const prompt = (tokens) => [...randomIds(`llama ${work.round} ${prompts++}`, tokens, work.vocabSize)];

/** When each token of each stream came. */
async function run(batch, tokens, maxTokens) {
  const context = await model.createContext({
    ...{ sequences: batch, contextSize: tokens + maxTokens + 8, batchSize: Math.max(512, tokens) },
    ...{ threads, flashAttention: true },
  });
  const start = performance.now();
  const streams = Array.from({ length: batch }, async () => {
    const times = [];
    const sequence = context.getSequence();
    for await (const _ of sequence.evaluate(prompt(tokens), { temperature: 0, yieldEogToken: true })) {
      times.push(performance.now() - start);
      if (times.length >= maxTokens) break;
    }
    return times;
  });
  const times = await Promise.all(streams);
  await context.dispose();
  return times;
}

async function sampled() {
  const context = await model.createContext({ contextSize: 256, threads, flashAttention: true });
  const ids = [...randomIds(SAMPLE.key, SAMPLE.promptTokens, work.vocabSize)];
  const tokens = [];
  for await (const token of context.getSequence().evaluate(ids, { temperature: 0, yieldEogToken: true })) {
    if (tokens.push(token) >= SAMPLE.outputTokens) break;
  }
  await context.dispose();
  return tokens;
}

const decode = {};
const prefill = {};
const sample = await sampled();
await run(1, promptTokens, 4);
for (const batch of work.batches) decode[batch] = decodeRate(await run(batch, promptTokens, outputTokens));
for (const length of work.prefills) {
  await run(1, length, 1);
  const [[ms]] = await run(1, length, 1);
  prefill[length] = (length * 1000) / ms;
}
console.log(JSON.stringify({ decode, prefill, sample, loadMs, residentMB: process.memoryUsage.rss() / 1e6 }));
await llama.dispose();
