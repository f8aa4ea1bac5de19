/** `npm run test:gpu`: every tiny model and the embedded one on the GPU against transformers in float32. Arguments and order only. */
import { execFileSync } from 'node:child_process';
import { formatTable } from '../bench/table.ts';
import { goldenModels } from './goldens.ts';
import { checkModel, type ModelChecks } from './checks.ts';
import type { KvChoice } from '../../gpu-worker/model/cuda/kv-layout.ts';

const KV: readonly KvChoice[] = ['float16', 'fp8'];
const [only = '', onlyKv = ''] = process.argv.slice(2);

const results: ModelChecks[] = [];
for (const model of goldenModels()) {
  if (!model.name.includes(only)) continue;
  for (const kv of KV) {
    if (!kv.includes(onlyKv)) continue;
    process.stderr.write(`${model.name}, ${kv} KV\n`);
    results.push(checkModel(model, kv));
    const last = results.at(-1);
    if (last?.error != null) process.stderr.write(`  ${last.error}\n`);
  }
}
const COLUMNS = [
  { title: 'model', align: 'left' },
  { title: 'KV', align: 'left' },
  { title: 'logits error', align: 'right' },
  { title: 'allowed', align: 'right' },
  { title: 'greedy equal', align: 'right' },
  { title: 'margin where not', align: 'right' },
  { title: 'batched = alone', align: 'right' },
  { title: 'graphs = none', align: 'right' },
  { title: 'problem', align: 'left' },
] as const;
const share = (pair: readonly [number, number] | null): string => (pair === null ? '' : `${pair[0]}/${pair[1]}`);
console.log(
  formatTable(
    COLUMNS,
    results.map((each) => [
      ...[each.model, each.kv, each.logitsError?.toExponential(1) ?? '', each.allowed.toExponential(0)],
      ...[share(each.equal), each.largestMargin?.toFixed(4) ?? '', share(each.alone), share(each.withoutGraphs)],
      each.error?.slice(0, 90) ?? (each.passed ? '' : 'over the limit'),
    ]),
  ),
);
const failed = results.filter(({ passed }) => !passed).length;
console.log(`\n${results.length - failed} of ${results.length} passed\n`);
console.log(JSON.stringify({ test: 'gpu', date: new Date().toISOString(), gpu: gpuName(), results }));
process.exitCode = failed > 0 ? 1 : 0;

function gpuName(): string {
  try {
    const fields = '--query-gpu=name,driver_version,memory.total';
    return execFileSync('nvidia-smi', [fields, '--format=csv,noheader'], { encoding: 'utf8' }).trim();
  } catch {
    return 'unknown';
  }
}
