/** The GPU benchmark's table and JSON line: figures beside their musts, the hardware's floor and vLLM. Prints nothing. */
import { formatTable } from '../table.ts';
import type { ModelConfig } from '../../../gpu-worker/model/config.ts';
import { decodeFloorMs } from './ceiling.ts';
import type { DecodeFigure, ThroughputFigure } from './measures.ts';
import type { GpuOptions, MeasureName } from './options.ts';
import type { TransformersFigure } from './transformers.ts';

/** Must, and vLLM 0.26.0 (bf16), milliseconds on one H200. */
const DECODE_MUST: Readonly<Record<number, readonly [must: number, vllm: number]>> = {
  1: [5.2, 4.88],
  16: [5.3, 5.04],
  64: [6, 5.71],
  256: [10.8, 10.22],
  1024: [37, 33.2],
};
/** Requests of a throughput measure, and the output tokens/s that it must make on one H200. */
export const THROUGHPUT: readonly {
  readonly requests: number;
  readonly prompt: number;
  readonly output: number;
  readonly must: number;
  readonly only: MeasureName;
}[] = [
  { requests: 1000, prompt: 16, output: 128, must: 25_000, only: 'throughput' },
  { requests: 2000, prompt: 128, output: 128, must: 15_500, only: 'throughput' },
  { requests: 500, prompt: 1000, output: 1000, must: 9000, only: 'long' },
];
const FIRST_TOKEN_MUST_MS = 12;
const INT4_MUST = 315;
const TRANSFORMERS_MUST = 7;

export interface Measured {
  readonly decodes: readonly DecodeFigure[];
  readonly throughputs: readonly ThroughputFigure[];
  readonly firstTokenMs: number | null;
  readonly openSeconds: number;
  readonly int4: DecodeFigure | null;
  readonly transformers: TransformersFigure | null;
}

type Row = readonly [measure: string, figure: string, must: string, verdict: string, beside: string];

export function gpuTable(measured: Measured, config: ModelConfig, options: GpuOptions): string {
  const { openSeconds } = measured;
  const rows: readonly Row[] = [
    ...measured.decodes.map((each) => decodeRow(each, config, options)),
    ...measured.throughputs.map((each) => throughputRow(each, options)),
    ...otherRows(measured),
    ['open, random weights', `${openSeconds.toFixed(1)} s`, '', '', ''],
  ];
  const columns = ['measure', 'figure', 'must', '', 'beside it'].map((title) => ({ title, align: 'left' }) as const);
  return formatTable(
    columns,
    rows.map((row) => [...row]),
  );
}

function decodeRow(figure: DecodeFigure, config: ModelConfig, { kv, weights }: GpuOptions): Row {
  const { batch, stepMs, gpuMs, tokensPerSecond, busy } = figure;
  const floor = decodeFloorMs(config, { ...figure, kvBytes: kv === 'float16' ? 2 : 1, weights });
  const rate = `${Math.round(tokensPerSecond)} tok/s, GPU ${gpuMs.toFixed(2)} ms, busy ${(100 * busy).toFixed(0)} %`;
  // Of other batches, and of rounded weights, there is neither.
  const [must, vllm] = (weights === 'none' ? DECODE_MUST[batch] : undefined) ?? [null, null];
  return [
    `decode step, batch ${batch}`,
    `${stepMs.toFixed(2)} ms`,
    must === null ? '' : `≤ ${must}`,
    must === null ? '' : verdict(stepMs <= must),
    `${vllm === null ? '' : `vLLM ${vllm}, `}floor ${floor.toFixed(2)}; ${rate}`,
  ];
}

function throughputRow(figure: ThroughputFigure, { dollars }: GpuOptions): Row {
  const { requests, promptTokens, outputTokens, tokensPerSecond } = figure;
  const must = THROUGHPUT.find((each) => each.requests === requests)?.must ?? 0;
  const cost = (dollars / 3600 / tokensPerSecond) * 1e6;
  return [
    `${requests} requests ${promptTokens}/${outputTokens}`,
    `${Math.round(tokensPerSecond)} tok/s`,
    `≥ ${must}`,
    verdict(tokensPerSecond >= must),
    `$${cost.toFixed(3)} per 1M output tokens at $${dollars}/h`,
  ];
}

function otherRows({ throughputs, firstTokenMs, int4, transformers }: Measured): readonly Row[] {
  const rows: Row[] = [];
  if (firstTokenMs !== null) {
    const met = verdict(firstTokenMs <= FIRST_TOKEN_MUST_MS);
    rows.push(['first token, 16 in', `${firstTokenMs.toFixed(2)} ms`, `≤ ${FIRST_TOKEN_MUST_MS}`, met, '']);
  }
  if (int4 !== null) {
    const { tokensPerSecond: rate, stepMs } = int4;
    const beside = `${stepMs.toFixed(2)} ms; vLLM 205, fp8 282`;
    rows.push(['int4, batch 1', `${Math.round(rate)} tok/s`, `≥ ${INT4_MUST}`, verdict(rate >= INT4_MUST), beside]);
  }
  const ours = throughputs.find(({ requests }) => requests === 1000);
  if (transformers !== null && ours !== undefined) {
    const ratio = ours.tokensPerSecond / transformers.tokensPerSecond;
    const { requests, prompt, output, transformers: version } = transformers;
    const theirs = `${Math.round(transformers.tokensPerSecond)} tok/s on ${requests} requests ${prompt}/${output}`;
    const met = verdict(ratio >= TRANSFORMERS_MUST);
    rows.push(['beside transformers', `${ratio.toFixed(1)} ×`, `≥ ${TRANSFORMERS_MUST}`, met, `${version}: ${theirs}`]);
  }
  return rows;
}

export function gpuJson(gpu: string, options: GpuOptions, measured: Measured): string {
  return JSON.stringify({ bench: 'gpu', date: new Date().toISOString(), gpu, parameters: options, ...measured });
}

function verdict(met: boolean): string {
  return met ? 'met' : 'missed';
}
