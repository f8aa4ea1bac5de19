/** `npm run bench:kv-cache`: steps over float32 and int8 keys and values on the CPU, in turn, at several contexts. */
import { availableParallelism, tmpdir } from 'node:os';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { calibrationPrompts } from '../../gpu-worker/evaluate/calibration-prompts.ts';
import { readModelConfig } from '../../gpu-worker/model/config.ts';
import { kvBytesPerToken } from '../../gpu-worker/model/kv-slots.ts';
import { openModel } from '../../gpu-worker/model/load.ts';
import { QUANTIZATIONS, type Quantization } from '../../gpu-worker/model/quantize/scheme.ts';
import { StepTimes } from './kv-cache/step-times.ts';
import { randomModelFolder } from './model-folder.ts';
import { integer, list } from './options.ts';
import { Progress } from './progress.ts';
import { left, right, rounded, thisMachine } from './report.ts';
import { spreadOf } from './rounds.ts';
import { formatSpread, formatTable } from './table.ts';

const KV_TYPES = ['float32', 'int8'] as const;
type Times = Readonly<Record<(typeof KV_TYPES)[number], readonly number[]>>;

const DEFAULTS = {
  ...{ model: '', quantization: 'int4', contexts: '128,1024,4096', batches: '1,16', rounds: '4' },
  threads: String(availableParallelism()),
};

const HELP = `npm run bench:kv-cache [-- options]
  --model <folder>       Hugging Face folder [random weights of Qwen2.5-0.5B's shape]
  --quantization <name>  of the weights: none, int8 or int4 [${DEFAULTS.quantization}]
  --contexts <numbers>   tokens of every sequence, ascending, by comma [${DEFAULTS.contexts}]
  --batches <numbers>    sequences of a step, by comma [${DEFAULTS.batches}]
  --rounds <number>      [${DEFAULTS.rounds}]
  --threads <number>     [${DEFAULTS.threads}]
  --help

Milliseconds of whole steps, without engine and draws of text. Output: a table, then one line of JSON.`;

interface Options {
  readonly model: string;
  readonly quantization: Quantization;
  readonly contexts: readonly number[];
  readonly batches: readonly number[];
  readonly rounds: number;
  readonly threads: number;
}

/** Null: help was asked for. */
function readOptions(args: readonly string[]): Options | null {
  const text = { type: 'string' } as const;
  const names = { model: text, quantization: text, contexts: text, batches: text, rounds: text, threads: text };
  const { values } = parseArgs({ args: [...args], options: { ...names, help: { type: 'boolean' } } });
  if (values.help === true) return null;
  const given = { ...DEFAULTS, ...values };
  const quantization = QUANTIZATIONS.find((name) => name === given.quantization);
  if (quantization === undefined) throw new Error(`--quantization is "${given.quantization}": none, int8 or int4`);
  const numbers = (name: 'contexts' | 'batches', max: number) =>
    list(name, given[name]).map((each) => integer(name, each, { min: 1, max }));
  return {
    ...{ model: given.model, quantization, batches: numbers('batches', 256) },
    contexts: numbers('contexts', 1_000_000).toSorted((a, b) => a - b),
    rounds: integer('rounds', given.rounds, { min: 1, max: 1000 }),
    threads: integer('threads', given.threads, { min: 1, max: 1024 }),
  };
}

async function measure(options: Options): Promise<{ folder: string; times: ReadonlyMap<string, Times> }> {
  const { quantization, contexts, batches, rounds, threads } = options;
  const progress = new Progress({ quiet: false });
  const folder = options.model === '' ? await randomModelFolder('qwen2.5-0.5b', progress.show) : options.model;
  const { vocabSize, maxPositions } = readModelConfig(folder);
  const calibration = calibrationPrompts(folder, vocabSize);
  const quantizationCache = mkdtempSync(join(tmpdir(), 'millrace-kv-cache-'));
  const sizes = StepTimes.sizes({ contexts, batches });
  if (sizes.maxModelLen > maxPositions) {
    const most = maxPositions - (sizes.maxModelLen - Math.max(...contexts));
    throw new Error(`--contexts: the model has ${maxPositions} positions, so the longest may be ${most}`);
  }
  const both = KV_TYPES.map((kvCacheDtype) => {
    progress.show(`opening the model over ${kvCacheDtype} keys and values`);
    const model = { folder, quantization, quantizationCache, threads, calibration, kvCacheDtype };
    return { kvCacheDtype, steps: new StepTimes(openModel({ ...model, ...sizes })) };
  });
  try {
    const times = new Map<string, Record<(typeof KV_TYPES)[number], number[]>>();
    for (const context of contexts) {
      progress.show(`filling ${context} tokens`);
      for (const { steps } of both) steps.fill(context, Math.max(...batches));
      for (let round = 0; round < rounds; round++) {
        progress.show(`context ${context}, round ${round + 1} of ${rounds}`);
        for (const { kvCacheDtype, steps } of both) {
          for (const { name, ms } of steps.round(batches)) {
            if (!times.has(name)) times.set(name, { float32: [], int8: [] });
            times.get(name)?.[kvCacheDtype].push(ms);
          }
        }
      }
    }
    return { folder, times };
  } finally {
    progress.clear();
    for (const { steps } of both) steps.free();
    rmSync(quantizationCache, { recursive: true });
  }
}

function report({ folder, times }: Awaited<ReturnType<typeof measure>>, { model, ...parameters }: Options): void {
  const config = readModelConfig(folder);
  const rows = [...times].map(([name, { float32, int8 }]) => {
    const ratio = int8.map((ms, i) => ms / (float32[i] ?? NaN));
    return [name, ...[float32, int8, ratio].map((each) => formatSpread(spreadOf(each)))];
  });
  const columns = [left('step'), right('float32 ms'), right('int8 ms'), right('int8 ÷ float32')];
  console.log(`${formatTable(columns, rows)}\n`);
  const bytes = KV_TYPES.map((type) => `${kvBytesPerToken(config, type)} over ${type}`).join(', ');
  console.log(`Medians over rounds [min–max]; ratios round by round. Bytes of a token: ${bytes}.\n`);
  const figures = [...times].map(([step, { float32, int8 }]) => {
    return { step, float32Ms: rounded(spreadOf(float32)), int8Ms: rounded(spreadOf(int8)) };
  });
  const head = { bench: 'kv-cache', date: new Date(), machine: thisMachine() };
  console.log(JSON.stringify({ ...head, parameters: { ...parameters, random: model === '' }, figures }));
}

try {
  const options = readOptions(process.argv.slice(2));
  if (options === null) console.log(HELP);
  else report(await measure(options), options);
} catch (error) {
  console.error(`\n${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
