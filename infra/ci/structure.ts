/** Checks the shape of the tree: who may import what, and how long a file may be; prints the distribution of sizes. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';

const MAX_LINES = 400;

interface ImportRule {
  readonly what: RegExp;
  /** Files that may import it. */
  readonly only: RegExp;
}

const RULES: readonly ImportRule[] = [
  { what: /^koffi$|^onnxruntime-node/, only: /^(gpu-worker\/model\/runtime|test|infra)\// },
  { what: /^@nats-io\//, only: /^(gpu-worker\/worker\.ts|edge\/bus\.ts|test\/|infra\/)/ },
  { what: /^hono/, only: /^(edge|test\/edge)\// },
  { what: /^node:/, only: /^(gpu-worker|test|infra)\/|^vitest\.config\.ts$/ },
  { what: /^cloudflare:/, only: /^(edge|test\/edge)\// },
  { what: /\/gpu-worker\//, only: /^(gpu-worker|test|infra)\// },
  { what: /\/edge\//, only: /^(edge|test|infra)\// },
];
const ENVIRONMENT_READERS = /^(gpu-worker\/config\.ts|infra\/|test\/)/;

const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.ts'], {
  encoding: 'utf8',
})
  .split('\n')
  .filter((file) => file !== '' && existsSync(file));

const problems: string[] = [];
const sizes: { readonly file: string; readonly lines: number }[] = [];
for (const file of files) {
  const text = readFileSync(file, 'utf8');
  const lines = text.split('\n').length - 1;
  if (!file.startsWith('test/')) sizes.push({ file, lines });
  if (lines > MAX_LINES) problems.push(`${file}: ${lines} lines, more than ${MAX_LINES}`);
  for (const target of importsOf(text)) problems.push(...brokenRules(file, target));
  if (/process\.env/.test(text) && !ENVIRONMENT_READERS.test(file) && !file.startsWith('gpu-worker/model/runtime/')) {
    problems.push(`${file}: only config files read the environment`);
  }
}
report();

function importsOf(text: string): readonly string[] {
  return [...text.matchAll(/^(?:import|export)\s[^'"]*?from\s+'([^']+)'/gm)].map((match) => match[1] ?? '');
}

function brokenRules(file: string, target: string): readonly string[] {
  const broken = RULES.filter(({ what, only }) => what.test(target) && !only.test(file)).map(
    () => `${file}: must not import ${target}`,
  );
  if (file.startsWith('shared/') && !target.startsWith('./') && target !== 'valibot') {
    broken.push(`${file}: shared/ is a leaf and must not import ${target}`);
  }
  return broken;
}

function report(): void {
  sizes.sort((a, b) => a.lines - b.lines);
  const at = (fraction: number) => sizes[Math.min(sizes.length - 1, Math.floor(sizes.length * fraction))]?.lines ?? 0;
  const largest = sizes.at(-1);
  console.log(
    `${sizes.length} source files: median ${at(0.5)} lines, p90 ${at(0.9)}, max ${largest?.lines} (${largest?.file})`,
  );
  for (const problem of problems) console.error(problem);
  process.exitCode = problems.length > 0 ? 1 : 0;
}
