/** The test command: every check in turn, cheapest first, with its time. `--check` leaves out what runs code. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findNatsServer } from '../nats/find.ts';

interface Stage {
  readonly name: string;
  readonly command: readonly string[];
}

const CHECKS: readonly Stage[] = [
  { name: 'format', command: ['oxfmt', '--check'] },
  { name: 'lint', command: ['oxlint', '--report-unused-disable-directives'] },
  ...['edge', 'gpu-worker', 'test'].map((folder) => ({ name: `types of ${folder}`, command: ['tsc', '-p', folder] })),
  { name: 'structure', command: ['node', 'infra/ci/structure.ts'] },
];

/** Runs a stage; a failed one ends the process, `onEnd` first. */
function run({ name, command: [program = '', ...args] }: Stage, onEnd: () => void = () => {}): void {
  const begin = performance.now();
  console.log(`\n── ${name}: ${program} ${args.join(' ')}`);
  const env = {
    ...process.env,
    WRANGLER_SEND_METRICS: 'false',
    CLOUDFLARE_CF_FETCH_ENABLED: 'false',
    ORT_DISABLE_TELEMETRY: '1',
  };
  const { status, error } = spawnSync(program, args, { stdio: 'inherit', env });
  const seconds = ((performance.now() - begin) / 1000).toFixed(1);
  onEnd();
  if (status !== 0) {
    console.error(`\n✗ ${name} failed after ${seconds} s${error === undefined ? '' : `: ${error.message}`}`);
    process.exit(1);
  }
  console.log(`✓ ${name} (${seconds} s)`);
}

function runTests(): void {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-tests-'));
  const report = join(folder, 'report.json');
  const command = ['vitest', 'run', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  run({ name: 'tests', command }, () => {
    if (existsSync(report)) {
      const counts = JSON.parse(readFileSync(report, 'utf8')) as { numPassedTests: number; numFailedTests: number };
      console.log(`\n${counts.numPassedTests} passed, ${counts.numFailedTests} failed`);
    }
    rmSync(folder, { recursive: true });
  });
}

for (const stage of CHECKS) run(stage);
if (!process.argv.includes('--check')) {
  // Before the tests' own clocks start: it may have to be built.
  console.log(`\nnats-server: ${await findNatsServer(console.log)}`);
  runTests();
}
