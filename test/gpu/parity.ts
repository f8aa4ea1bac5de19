/** `npm run test:gpu`: every tiny model and the embedded one on the GPU against transformers in float32. Arguments and order only. */
import { execFileSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { whyNoGpu } from '../../gpu-worker/model/choose-device.ts';
import { formatTable } from '../bench/table.ts';
import { goldenModels, type GoldenModel } from './goldens.ts';
import { checkModel, formatsOf, type ModelChecks } from './checks.ts';
import { checkDraws } from './draw-checks.ts';
import { checkPerplexity, type PerplexityChecks } from './perplexity-checks.ts';
import { checkRules } from './rules-checks.ts';
import { checkServing, type ServingCheck } from './serving-checks.ts';

const HELP = `npm run test:gpu -- [name]

Needs a GPU. Each model whose name has this part, by default all, on the GPU against transformers in float32; of
millrace-mini, the embedded one, also what it serves and its perplexity. Output: tables, then one line of JSON.

  --help`;

interface Results {
  readonly models: readonly ModelChecks[];
  readonly serving: readonly ServingCheck[];
  readonly perplexities: PerplexityChecks | null;
}

const left = (title: string) => ({ title, align: 'left' }) as const;
const right = (title: string) => ({ title, align: 'right' }) as const;
const share = (pair: readonly [number, number] | null): string => (pair === null ? '' : `${pair[0]}/${pair[1]}`);

function checkModels(chosen: readonly GoldenModel[]): readonly ModelChecks[] {
  const results: ModelChecks[] = [];
  for (const model of chosen) {
    for (const format of formatsOf(model)) {
      process.stderr.write(`${model.name}, ${format.type}, KV ${format.kv}\n`);
      const checks = checkModel(model, format);
      results.push(checks);
      if (checks.error !== null) process.stderr.write(`  ${checks.error}\n`);
    }
  }
  return results;
}

function printModels(models: Results['models']): void {
  const columns = [
    ...[left('model'), left('weights'), left('KV'), right('logits error'), right('allowed'), right('greedy equal')],
    ...[right('margin where not'), right('batched = alone'), right('graphs = none'), left('problem')],
  ];
  const rows = models.map((each) => [
    ...[
      each.model,
      each.type,
      // Plain keys and values have the format of the activations.
      each.kv === 'float16' ? each.type : each.kv,
      each.logitsError?.toExponential(1) ?? '',
      each.allowed.toExponential(0),
    ],
    ...[share(each.equal), each.largestMargin?.toFixed(4) ?? '', share(each.alone), share(each.withoutGraphs)],
    each.error?.slice(0, 90) ?? (each.passed ? '' : 'over the limit'),
  ]);
  console.log(`${formatTable(columns, rows)}\n`);
}

function printServing(serving: Results['serving']): void {
  const columns = [left('embedded model, served'), right('equal'), left('figure'), left('')];
  const rows = serving.map(({ name, equal, figure, passed }) => [name, share(equal), figure, passed ? '' : 'failed']);
  console.log(`${formatTable(columns, rows)}\n`);
}

function printPerplexities({ float32, tokens, checks }: PerplexityChecks): void {
  const columns = [left('weights'), left('KV'), right('perplexity'), right('× float32'), left('')];
  const rows = checks.map(({ weights, kv, perplexity, ratio, error, passed }) => [
    ...[weights, kv, perplexity?.toFixed(4) ?? '', ratio?.toFixed(4) ?? ''],
    error?.slice(0, 90) ?? (passed ? '' : 'over the limit'),
  ]);
  console.log(`embedded model, ${tokens} held-out tokens, float32 on the CPU: perplexity ${float32.toFixed(4)}\n`);
  console.log(`${formatTable(columns, rows)}\n`);
}

function gpuName(): string {
  try {
    const fields = '--query-gpu=name,driver_version,memory.total';
    return execFileSync('nvidia-smi', [fields, '--format=csv,noheader'], { encoding: 'utf8' }).trim();
  } catch {
    return 'unknown';
  }
}

/** Resolves with how many checks failed. */
async function check(chosen: readonly GoldenModel[]): Promise<number> {
  const models = checkModels(chosen);
  const embedded = chosen.find(({ name }) => name === 'millrace-mini');
  const serving =
    embedded === undefined ? [] : [...(await checkServing(embedded)), ...checkRules(embedded), ...checkDraws(embedded)];
  const onFormat = (format: string) => void process.stderr.write(`perplexity, ${format}\n`);
  const perplexities = embedded === undefined ? null : checkPerplexity(embedded.folder, onFormat);
  printModels(models);
  if (serving.length > 0) printServing(serving);
  if (perplexities !== null) printPerplexities(perplexities);
  const all = [...models, ...serving, ...(perplexities?.checks ?? [])];
  const failed = all.filter(({ passed }) => !passed).length;
  console.log(`${all.length - failed} of ${all.length} passed\n`);
  const results: Results = { models, serving, perplexities };
  console.log(JSON.stringify({ test: 'gpu', date: new Date().toISOString(), gpu: gpuName(), ...results }));
  return failed;
}

/** Resolves with the exit code. Throws with what is wrong before anything is checked. */
async function main(args: readonly string[]): Promise<number> {
  const options = { help: { type: 'boolean', short: 'h' } } as const;
  const { values, positionals } = parseArgs({ args: [...args], options, allowPositionals: true });
  if (values.help === true) {
    console.log(HELP);
    return 0;
  }
  const [only = ''] = positionals;
  const all = goldenModels();
  const chosen = all.filter(({ name }) => name.includes(only));
  if (chosen.length === 0) {
    throw new Error(
      `there is no model with "${only}" in its name: take one of ${all.map(({ name }) => name).join(', ')}`,
    );
  }
  const problem = whyNoGpu();
  if (problem !== null) throw new Error(`test:gpu needs a GPU, and none can be used: ${problem}`);
  return (await check(chosen)) > 0 ? 1 : 0;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}
