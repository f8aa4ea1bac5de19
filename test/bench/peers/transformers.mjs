/** Transformers.js' share of `npm run bench:peers`: generate() with dtype q4 on the CPU, greedy. */
import { dirname, basename } from 'node:path';
import { AutoModelForCausalLM, env, StoppingCriteria, Tensor } from '@huggingface/transformers';
import { randomIds } from '../engine/random-ids.ts';
import { decodeRate, SAMPLE } from './work.ts';

const work = JSON.parse(process.argv[2] ?? '');
const { promptTokens, outputTokens, threads } = work;
env.allowRemoteModels = false;
env.localModelPath = dirname(work.model);
const begin = performance.now();
const model = await AutoModelForCausalLM.from_pretrained(basename(work.model), {
  ...{ dtype: 'q4', device: 'cpu', local_files_only: true, use_external_data_format: true },
  session_options: { intraOpNumThreads: threads, interOpNumThreads: 1 },
});
const loadMs = performance.now() - begin;

let prompts = 0;
const prompt = (tokens) => randomIds(`transformers ${work.round} ${prompts++}`, tokens, work.vocabSize);

/** Asked after every step whether to end: never, but it knows when the step was done. */
class Watch extends StoppingCriteria {
  times = [];
  begin = performance.now();

  _call(ids) {
    this.times.push(performance.now() - this.begin);
    return ids.map(() => false);
  }
}

async function run(batch, tokens, maxTokens) {
  const watch = new Watch();
  const prompts = Array.from({ length: batch }, () => prompt(tokens));
  await generate(prompts, maxTokens, watch);
  return watch.times;
}

/** Prompts of one length. */
function generate(prompts, maxTokens, watch) {
  const shape = [prompts.length, prompts[0].length];
  const ids = BigInt64Array.from(
    prompts.flatMap((prompt) => [...prompt]),
    BigInt,
  );
  const ones = new BigInt64Array(ids.length).fill(1n);
  return model.generate({
    inputs: new Tensor('int64', ids, shape),
    attention_mask: new Tensor('int64', ones, shape),
    ...{ max_new_tokens: maxTokens, do_sample: false, stopping_criteria: watch },
  });
}

async function sampled() {
  const ids = randomIds(SAMPLE.key, SAMPLE.promptTokens, work.vocabSize);
  const output = await generate([ids], SAMPLE.outputTokens, new Watch());
  return Array.from(output.data.slice(SAMPLE.promptTokens), Number);
}

const decode = {};
const prefill = {};
const sample = await sampled();
await run(1, promptTokens, 4);
for (const batch of work.batches) {
  const times = await run(batch, promptTokens, outputTokens);
  decode[batch] = decodeRate(Array.from({ length: batch }, () => times));
}
for (const length of work.prefills) {
  await run(1, length, 1);
  const [ms] = await run(1, length, 1);
  prefill[length] = (length * 1000) / ms;
}
console.log(JSON.stringify({ decode, prefill, sample, loadMs, residentMB: process.memoryUsage.rss() / 1e6 }));
