/** `npm run test:gpu`: every tiny model and the embedded one on the GPU against transformers in float32. Arguments and order only. */
import { execFileSync } from 'node:child_process';
import { formatTable } from '../bench/table.ts';
import { goldenModels } from './goldens.ts';
import { checkModel, formatsOf, type ModelChecks } from './checks.ts';
import { checkPerplexity } from './perplexity-checks.ts';
import { checkRules } from './rules-checks.ts';
import { checkServing } from './serving-checks.ts';

const [only = ''] = process.argv.slice(2);

function checkModels(): readonly ModelChecks[] {
  const results: ModelChecks[] = [];
  for (const model of goldenModels()) {
    if (!model.name.includes(only)) continue;
    for (const format of formatsOf(model)) {
      process.stderr.write(`${model.name}, ${format.type}, KV ${format.kv}\n`);
      const checks = checkModel(model, format);
      results.push(checks);
      if (checks.error !== null) process.stderr.write(`  ${checks.error}\n`);
    }
  }
  return results;
}

const share = (pair: readonly [number, number] | null): string => (pair === null ? '' : `${pair[0]}/${pair[1]}`);

const models = checkModels();
const embedded = goldenModels().find(({ name }) => name === 'millrace-mini' && name.includes(only));
const serving = embedded === undefined ? [] : [...(await checkServing(embedded)), ...checkRules(embedded)];
const perplexities =
  embedded === undefined
    ? null
    : checkPerplexity(embedded.folder, (format) => void process.stderr.write(`perplexity, ${format}\n`));
const left = (title: string) => ({ title, align: 'left' }) as const;
const right = (title: string) => ({ title, align: 'right' }) as const;
const modelColumns = [
  ...[left('model'), left('weights'), left('KV'), right('logits error'), right('allowed'), right('greedy equal')],
  ...[right('margin where not'), right('batched = alone'), right('graphs = none'), left('problem')],
];
const modelRows = models.map((each) => [
  ...[
    each.model,
    each.type,
    each.type === 'bfloat16' ? 'bfloat16' : each.kv,
    each.logitsError?.toExponential(1) ?? '',
    each.allowed.toExponential(0),
  ],
  ...[share(each.equal), each.largestMargin?.toFixed(4) ?? '', share(each.alone), share(each.withoutGraphs)],
  each.error?.slice(0, 90) ?? (each.passed ? '' : 'over the limit'),
]);
console.log(`${formatTable(modelColumns, modelRows)}\n`);
const servingColumns = [left('embedded model, served'), right('equal'), left('figure'), left('')];
const servingRows = serving.map(({ name, equal, figure, passed }) => [
  name,
  share(equal),
  figure,
  passed ? '' : 'failed',
]);
if (serving.length > 0) console.log(`${formatTable(servingColumns, servingRows)}\n`);
if (perplexities !== null) {
  const { float32, tokens, checks } = perplexities;
  const columns = [left('weights'), left('KV'), right('perplexity'), right('× float32'), left('')];
  const rows = checks.map(({ weights, kv, perplexity, ratio, error, passed }) => [
    ...[weights, kv, perplexity?.toFixed(4) ?? '', ratio?.toFixed(4) ?? ''],
    error?.slice(0, 90) ?? (passed ? '' : 'over the limit'),
  ]);
  console.log(`embedded model, ${tokens} held-out tokens, float32 on the CPU: perplexity ${float32.toFixed(4)}\n`);
  console.log(`${formatTable(columns, rows)}\n`);
}
const all = [...models, ...serving, ...(perplexities?.checks ?? [])];
const failed = all.filter(({ passed }) => !passed).length;
console.log(`${all.length - failed} of ${all.length} passed\n`);
console.log(
  JSON.stringify({ test: 'gpu', date: new Date().toISOString(), gpu: gpuName(), models, serving, perplexities }),
);
process.exitCode = failed > 0 ? 1 : 0;

function gpuName(): string {
  try {
    const fields = '--query-gpu=name,driver_version,memory.total';
    return execFileSync('nvidia-smi', [fields, '--format=csv,noheader'], { encoding: 'utf8' }).trim();
  } catch {
    return 'unknown';
  }
}
