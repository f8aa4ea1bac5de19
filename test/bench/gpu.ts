/** `npm run bench:gpu`: the Llama-3-8B shape with random weights on one GPU, through the engine. Arguments and order only. */
import { execFileSync } from 'node:child_process';
import { performance } from 'node:perf_hooks';
import { requireGpu } from '../../gpu-worker/model/choose-device.ts';
import type { ModelConfig } from '../../gpu-worker/model/config.ts';
import type { QuantizedSource } from '../../gpu-worker/model/cuda/device-weights.ts';
import { openCudaRunner } from '../../gpu-worker/model/cuda/open-cuda.ts';
import { GpuBench } from './gpu/measures.ts';
import type { DecodeFigure } from './gpu/measures.ts';
import { HELP, readGpuOptions } from './gpu/options.ts';
import type { GpuOptions } from './gpu/options.ts';
import { llama8b, randomCodes, randomHalves } from './gpu/random-halves.ts';
import { gpuJson, gpuTable, THROUGHPUT } from './gpu/report.ts';
import type { Measured } from './gpu/report.ts';
import { measureTransformers, type TransformersFigure } from './gpu/transformers.ts';

const CONTEXT = 128;
const PENALTIES = { repetitionPenalty: 1.1, frequencyPenalty: 0.3, presencePenalty: 0.2 };
const MAX_MODEL_LEN = 2048;

const show = (text: string): void => void process.stderr.write(`${text}\n`);

function main(options: GpuOptions): void {
  requireGpu();
  const config = llama8b(options.layers);
  const engine = measureEngine(config, options);
  const int4 = options.only.includes('int4') ? measureInt4(config) : null;
  // The GPU is free by now.
  const transformers = options.transformers === null ? null : beside(options.transformers, options);
  const measured: Measured = { ...engine, int4, transformers };
  const gpu = gpuName();
  console.log(`\n${gpu}; musts and vLLM's figures are of one H200\n\n${gpuTable(measured, config, options)}\n`);
  console.log(gpuJson(gpu, options, measured));
}

function measureEngine(config: ModelConfig, options: GpuOptions): Omit<Measured, 'int4' | 'transformers'> {
  const { maxNumSeqs, kv, graphs, weights, only } = options;
  const source = randomHalves();
  const begin = performance.now();
  const runner = openCudaRunner(config, source, {
    ...{ maxNumSeqs, maxModelLen: MAX_MODEL_LEN, maxStepTokens: 8192, kvCacheTokens: null },
    ...{ kv, ...(graphs ? {} : { graphBytes: 0 }), ...rounded(weights) },
  });
  const openSeconds = (performance.now() - begin) / 1000;
  show(`opened in ${openSeconds.toFixed(1)} s: ${JSON.stringify(runner.info.kv)}`);
  const bench = new GpuBench(runner, options.penalties ? PENALTIES : {});
  const shown = <T>(figure: T): T => {
    show(JSON.stringify(figure));
    return figure;
  };
  const batches = only.includes('decode') ? options.batches : [];
  const decodes = batches.map((batch) => shown(bench.decode(batch, { context: CONTEXT, steps: 40 })));
  const firstTokenMs = only.includes('first') ? shown(bench.firstToken(16, 10)) : null;
  const chosen = THROUGHPUT.filter((each) => only.includes(each.only));
  const throughputs = chosen.map(({ requests, prompt, output }) => shown(bench.throughput(requests, prompt, output)));
  runner.dispose();
  return { decodes, throughputs, firstTokenMs, openSeconds };
}

/** What a single stream reaches with int4 layers: a server for one. */
function measureInt4(config: ModelConfig): DecodeFigure {
  const limits = { maxNumSeqs: 1, maxModelLen: MAX_MODEL_LEN, maxStepTokens: 2048, kvCacheTokens: null };
  const runner = openCudaRunner(config, randomHalves(), { ...limits, ...rounded('int4') });
  const figure = new GpuBench(runner).decode(1, { context: CONTEXT, steps: 40 });
  runner.dispose();
  return figure;
}

function beside(python: string, { transformersOutput: output, layers }: GpuOptions): TransformersFigure {
  show('transformers, continuous batching');
  return measureTransformers(python, { requests: 1000, output, layers });
}

function rounded(weights: GpuOptions['weights']): { quantized?: QuantizedSource; quantization?: string } {
  if (weights === 'none') return {};
  return { quantized: randomCodes(weights === 'int4' ? 4 : 8), quantization: `${weights} b32` };
}

/** Of the first one, on which this runs. */
function gpuName(): string {
  try {
    const args = ['--id=0', '--query-gpu=name,driver_version', '--format=csv,noheader'];
    return execFileSync('nvidia-smi', args, { encoding: 'utf8' }).trim();
  } catch {
    return 'unknown GPU';
  }
}

try {
  const options = readGpuOptions(process.argv.slice(2));
  if (options === null) console.log(HELP);
  else main(options);
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}
