/** Millrace's share of `npm run bench:peers`: through LLM.stream, as a user has it but for speculation, off. */
import { LLM } from '../../../gpu-worker/llm.ts';
import { randomIds } from '../engine/random-ids.ts';
import { decodeRate, SAMPLE } from './work.ts';
import type { PeerResult, PeerWork } from './work.ts';

const work = JSON.parse(process.argv[2] ?? '') as PeerWork;
const { batches, prefills, promptTokens, outputTokens } = work;
const most = Math.max(1, ...batches);
const begin = performance.now();
await using llm = await LLM.load({
  model: work.model,
  threads: work.threads,
  quantization: work.quantization ?? 'int4',
  quantizationBlockSize: work.blockSize ?? 32,
  quantizationCache: work.cache ?? 'none',
  maxNumSeqs: most,
  maxModelLen: 16 + Math.max(promptTokens + outputTokens, SAMPLE.promptTokens + SAMPLE.outputTokens, ...prefills),
  // All prompts of a batch in one step, so that all streams begin together.
  maxNumBatchedTokens: Math.max(512, most * promptTokens, ...prefills),
  speculation: 'off',
});
const loadMs = performance.now() - begin;

let prompts = 0;
const prompt = (tokens: number) => [...randomIds(`millrace ${work.round} ${prompts++}`, tokens, work.vocabSize)];

async function sampled(): Promise<readonly number[]> {
  const ids = [...randomIds(SAMPLE.key, SAMPLE.promptTokens, work.vocabSize)];
  const params = { temperature: 0, maxTokens: SAMPLE.outputTokens, ignoreEos: true };
  for await (const { outputs } of llm.generate([ids], params)) return outputs[0]?.tokenIds ?? [];
  return [];
}

/** When each token of each stream came. */
function run(batch: number, tokens: number, maxTokens: number): Promise<number[][]> {
  const params = { temperature: 0, maxTokens, ignoreEos: true };
  const prompts = Array.from({ length: batch }, () => prompt(tokens));
  return Promise.all(
    prompts.map(async (ids) => {
      const times: number[] = [];
      for await (const { tokenIds } of llm.stream(ids, params)) times.push(...tokenIds.map(() => performance.now()));
      return times;
    }),
  );
}

const decode: Record<string, number> = {};
const prefill: Record<string, number> = {};
const sample = await sampled();
await run(1, promptTokens, 4);
for (const batch of batches) decode[batch] = decodeRate(await run(batch, promptTokens, outputTokens));
for (const length of prefills) {
  await run(1, length, 1);
  const start = performance.now();
  await run(1, length, 1);
  prefill[length] = (length * 1000) / (performance.now() - start);
}
const residentMB = process.memoryUsage.rss() / 1e6;
console.log(JSON.stringify({ decode, prefill, sample, loadMs, residentMB } satisfies PeerResult));
