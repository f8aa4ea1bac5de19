/** `npm run bench:gpu`: the Llama-3-8B shape with random weights on one GPU, through the engine. Arguments and order only. */
import { execFileSync } from 'node:child_process';
import { performance } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { openCudaRunner } from '../../gpu-worker/model/cuda/open-cuda.ts';
import { decodeFloorMs } from './gpu/ceiling.ts';
import { GpuBench } from './gpu/measures.ts';
import type { DecodeFigure, ThroughputFigure } from './gpu/measures.ts';
import { llama8b, randomCodes, randomHalves } from './gpu/random-halves.ts';
import type { QuantizedSource } from '../../gpu-worker/model/cuda/device-weights.ts';
import { measureTransformers, type TransformersFigure } from './gpu/transformers.ts';
import { formatTable } from './table.ts';

const HELP = `npm run bench:gpu -- [flags]
  --weights   none (16 bits), int8 or int4 [none]
  --kv        auto, float16, fp8 or int8 [auto]
  --batches   of the decode steps, by comma [1,16,64,256,1024]
  --graphs    CUDA graphs: true or false [true]
  --penalties repetition, frequency and presence penalties on every request: true or false [false]
  --layers    of the model [32]
  --max-num-seqs  of the engine [1024]
  --only      decode, throughput, long, first or int4, by comma [all]
  --transformers         a Python with torch and transformers: its continuous batching on 1000 such requests beside ours
  --transformers-output  their tokens, fewer to be done sooner [128]
  --dollars   an hour of this GPU, for the cost per million output tokens [3]`;

const { values } = parseArgs({
  options: {
    weights: { type: 'string', default: 'none' },
    kv: { type: 'string', default: 'auto' },
    batches: { type: 'string', default: '1,16,64,256,1024' },
    graphs: { type: 'string', default: 'true' },
    penalties: { type: 'string', default: 'false' },
    layers: { type: 'string', default: '32' },
    'max-num-seqs': { type: 'string', default: '1024' },
    only: { type: 'string', default: 'decode,first,throughput,long,int4' },
    transformers: { type: 'string' },
    'transformers-output': { type: 'string', default: '128' },
    dollars: { type: 'string', default: '3' },
    help: { type: 'boolean', short: 'h' },
  },
});

/** Must, and vLLM 0.26.0 (bf16) on one H200. */
const DECODE_MUST: Readonly<Record<number, readonly [must: number, vllm: number]>> = {
  1: [5.2, 4.88],
  16: [5.3, 5.04],
  64: [6, 5.71],
  256: [10.8, 10.22],
  1024: [37, 33.2],
};
const THROUGHPUT = [
  { requests: 1000, prompt: 16, output: 128, must: 25_000, only: 'throughput' },
  { requests: 2000, prompt: 128, output: 128, must: 15_500, only: 'throughput' },
  { requests: 500, prompt: 1000, output: 1000, must: 9000, only: 'long' },
];
const CONTEXT = 128;
const PENALTIES = { repetitionPenalty: 1.1, frequencyPenalty: 0.3, presencePenalty: 0.2 };

function main(): void {
  const { kv, only } = values;
  if (kv !== 'auto' && kv !== 'float16' && kv !== 'fp8' && kv !== 'int8')
    throw new Error(`--kv is "${kv}": auto, float16, fp8 or int8`);
  const config = llama8b(Number(values.layers));
  const show = (text: string): void => void process.stderr.write(`${text}\n`);
  const source = randomHalves();
  const begin = performance.now();
  const runner = openCudaRunner(config, source, {
    ...{ maxNumSeqs: Number(values['max-num-seqs']), maxModelLen: 2048, maxStepTokens: 8192, kvCacheTokens: null },
    ...{ kv, ...(values.graphs === 'true' ? {} : { graphBytes: 0 }), ...rounded(values.weights) },
  });
  const openSeconds = (performance.now() - begin) / 1000;
  show(`opened in ${openSeconds.toFixed(1)} s: ${JSON.stringify(runner.info.kv)}`);
  const bench = new GpuBench(runner, values.penalties === 'true' ? PENALTIES : {});
  const decodes: DecodeFigure[] = [];
  const throughputs: ThroughputFigure[] = [];
  let firstTokenMs: number | null = null;
  const wants = (name: string): boolean => only.split(',').includes(name);
  if (wants('decode')) {
    for (const batch of values.batches.split(',').map(Number)) {
      const figure = bench.decode(batch, { context: CONTEXT, steps: 40 });
      decodes.push(figure);
      show(JSON.stringify(figure));
    }
  }
  if (wants('first')) {
    firstTokenMs = bench.firstToken(16, 10);
    show(`first token ${firstTokenMs.toFixed(2)} ms`);
  }
  for (const { requests, prompt, output, only: name } of THROUGHPUT) {
    if (!wants(name)) continue;
    const figure = bench.throughput(requests, prompt, output);
    throughputs.push(figure);
    show(JSON.stringify(figure));
  }
  runner.dispose();
  const int4 = wants('int4') ? measureInt4(config) : null;
  const transformers = values.transformers === undefined ? null : beside(values.transformers, config.layers);
  print({ decodes, throughputs, firstTokenMs, openSeconds, int4, transformers }, config);
}

/** The GPU is free by now. */
function beside(python: string, layers: number): TransformersFigure {
  process.stderr.write('transformers, continuous batching\n');
  return measureTransformers(python, { requests: 1000, output: Number(values['transformers-output']), layers });
}

/** What a single stream reaches with int4 layers: a server for one. */
function measureInt4(config: ReturnType<typeof llama8b>): DecodeFigure {
  const limits = { maxNumSeqs: 1, maxModelLen: 2048, maxStepTokens: 2048, kvCacheTokens: null };
  const rounded = { quantized: randomCodes(4), quantization: 'int4 b32' };
  const runner = openCudaRunner(config, randomHalves(), { ...limits, ...rounded });
  const figure = new GpuBench(runner).decode(1, { context: CONTEXT, steps: 40 });
  runner.dispose();
  return figure;
}

interface Measured {
  readonly decodes: readonly DecodeFigure[];
  readonly throughputs: readonly ThroughputFigure[];
  readonly firstTokenMs: number | null;
  readonly openSeconds: number;
  readonly int4: DecodeFigure | null;
  readonly transformers: TransformersFigure | null;
}

function print(
  { decodes, throughputs, firstTokenMs, openSeconds, int4, transformers }: Measured,
  config: ReturnType<typeof llama8b>,
): void {
  const dollars = Number(values.dollars);
  const rows: string[][] = [];
  const add = (...cells: string[]): void => void rows.push(cells);
  const kvBytes = values.kv === 'float16' ? 2 : 1;
  for (const each of decodes) {
    // Of other batches there is neither.
    const [must, vllm] = DECODE_MUST[each.batch] ?? [null, null];
    const floor = decodeFloorMs(config, { ...each, kvBytes });
    const rate = `${Math.round(each.tokensPerSecond)} tok/s, GPU ${each.gpuMs.toFixed(2)} ms, busy ${(100 * each.busy).toFixed(0)} %`;
    add(
      `decode step, batch ${each.batch}`,
      `${each.stepMs.toFixed(2)} ms`,
      must === null ? '' : `≤ ${must}`,
      must === null ? '' : verdict(each.stepMs <= must),
      `${vllm === null ? '' : `vLLM ${vllm}, `}floor ${floor.toFixed(2)}; ${rate}`,
    );
  }
  throughputs.forEach((each) => {
    const must = THROUGHPUT.find(({ requests }) => requests === each.requests)?.must ?? NaN;
    const cost = (dollars / 3600 / each.tokensPerSecond) * 1e6;
    add(
      ...[
        `${each.requests} requests ${each.promptTokens}/${each.outputTokens}`,
        `${Math.round(each.tokensPerSecond)} tok/s`,
      ],
      ...[
        `≥ ${must}`,
        verdict(each.tokensPerSecond >= must),
        `$${cost.toFixed(3)} per 1M output tokens at $${dollars}/h`,
      ],
    );
  });
  if (firstTokenMs !== null)
    add('first token, 16 in', `${firstTokenMs.toFixed(2)} ms`, '≤ 12', verdict(firstTokenMs <= 12), '');
  if (int4 !== null) {
    const rate = int4.tokensPerSecond;
    add(
      'int4, batch 1',
      `${Math.round(rate)} tok/s`,
      '≥ 315',
      verdict(rate >= 315),
      `${int4.stepMs.toFixed(2)} ms; vLLM 205, fp8 282`,
    );
  }
  const ours = throughputs.find(({ requests }) => requests === 1000);
  if (transformers !== null && ours !== undefined) {
    const ratio = ours.tokensPerSecond / transformers.tokensPerSecond;
    const theirs = `${Math.round(transformers.tokensPerSecond)} tok/s on ${transformers.requests} requests ${transformers.prompt}/${transformers.output}`;
    add(
      'beside transformers',
      `${ratio.toFixed(1)} ×`,
      '≥ 7',
      verdict(ratio >= 7),
      `${transformers.transformers}: ${theirs}`,
    );
  }
  add('open, random weights', `${openSeconds.toFixed(1)} s`, '', '', '');
  const columns = ['measure', 'figure', 'must', '', 'beside it'].map((title) => ({ title, align: 'left' }) as const);
  console.log(`\n${gpuName()}; musts and vLLM's figures are of one H200\n\n${formatTable(columns, rows)}\n`);
  console.log(
    JSON.stringify({
      bench: 'gpu',
      date: new Date().toISOString(),
      gpu: gpuName(),
      parameters: values,
      decodes,
      throughputs,
      firstTokenMs,
      openSeconds,
      int4,
      transformers,
    }),
  );
}

function rounded(weights: string): { quantized?: QuantizedSource; quantization?: string } {
  if (weights === 'none') return {};
  if (weights === 'int4' || weights === 'int8')
    return { quantized: randomCodes(weights === 'int4' ? 4 : 8), quantization: weights };
  throw new Error(`--weights is "${weights}": none, int8 or int4`);
}

function verdict(met: boolean): string {
  return met ? 'met' : 'missed';
}

function gpuName(): string {
  try {
    return execFileSync('nvidia-smi', ['--query-gpu=name,driver_version', '--format=csv,noheader'], {
      encoding: 'utf8',
    }).trim();
  } catch {
    return 'unknown GPU';
  }
}

if (values.help === true) console.log(HELP);
else main();
