/** One start in a process of its own: opens a model whose quantized weights are cached, draws a token, says what it took. */
import { readFileSync } from 'node:fs';
import { openModel } from '../../../gpu-worker/model/load.ts';
import type { BlockSize } from '../../../gpu-worker/model/quantize/scheme.ts';

export interface StartWork {
  readonly folder: string;
  readonly cache: string;
  readonly blockSize: BlockSize;
  readonly threads: number;
}

export interface StartResult {
  readonly openMs: number;
  readonly firstTokenMs: number;
  /** Resident memory beyond that of the process before: all of it, and without pages of other files than the weights'. */
  readonly grownBytes: number;
  readonly weightBytes: number;
  /** Weights were read and rounded: nothing was cached. */
  readonly quantized: boolean;
}

const PROMPT = Int32Array.from({ length: 16 }, (_, i) => 1000 + 7 * i);
const GREEDY = {
  ...{ temperature: 0, topP: 1, topK: 0, minP: 0, seed: null, choice: 0, rules: null, logprobs: null, index: 0 },
};

function residentBytes(field: 'VmRSS' | 'RssAnon'): number {
  const [, kilobytes = 'NaN'] =
    new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
  return 1024 * Number(kilobytes);
}

/** Resident pages of mapped weight files. */
function filePages(folder: string): number {
  const mappings = readFileSync('/proc/self/smaps', 'utf8').split(/^(?=[\da-f]+-[\da-f]+ )/m);
  const kilobytes = mappings
    .filter((mapping) => mapping.split('\n', 1)[0]?.includes(folder))
    .map((mapping) => Number(/^Rss:\s+(\d+)/m.exec(mapping)?.[1] ?? NaN));
  return 1024 * kilobytes.reduce((sum, each) => sum + each, 0);
}

const { folder, cache, blockSize, threads } = JSON.parse(process.argv[2] ?? '') as StartWork;
const before = { all: residentBytes('VmRSS'), anonymous: residentBytes('RssAnon') };
const begin = performance.now();
let quantized = false;
const runner = openModel({
  ...{ folder, threads, quantization: 'int4', quantizationBlockSize: blockSize, quantizationCache: cache },
  ...{ maxNumSeqs: 8, cacheSlots: 0, kvCacheTokens: null, maxModelLen: 1024, maxStepTokens: 512 },
  onProgress: () => (quantized = true),
});
const openMs = performance.now() - begin;
const row = { sequence: 0, blocks: Int32Array.of(0), start: 0, ids: PROMPT, draws: 1, sample: GREEDY };
runner.launch({ id: 1, copies: [], drops: [], rows: [row], tokens: PROMPT.length });
runner.collect();
const firstTokenMs = performance.now() - begin;
const grownBytes = residentBytes('VmRSS') - before.all;
const weightBytes = residentBytes('RssAnon') - before.anonymous + filePages(cache);
console.log(JSON.stringify({ openMs, firstTokenMs, grownBytes, weightBytes, quantized } satisfies StartResult));
runner.dispose();
