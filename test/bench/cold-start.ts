/** `npm run bench:cold-start`: how fast a model with the shape of Qwen2.5-0.5B is there, and how much memory it keeps. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import type { StartResult, StartWork } from './cold-start/once.ts';
import { randomModelFolder } from './model-folder.ts';
import { integer } from './options.ts';
import { Progress } from './progress.ts';
import { left, right, thisMachine } from './report.ts';
import { spreadOf, type Spread } from './rounds.ts';
import { formatSpread, formatTable } from './table.ts';

const PROGRAM = fileURLToPath(new URL('./cold-start/once.ts', import.meta.url));
const BLOCK_SIZES = [32, 128] as const;
/** Milliseconds to the first token; resident memory ÷ size of the file. */
const MUST = { firstTokenMs: 2000, memory: 1.3 };
const HELP = `npm run bench:cold-start [-- options]
  --rounds <n>   starts of each block size, every one in a process of its own [5]
  --threads <n>  [${thisMachine().cores}]
  --help

The first start of a block size reads and rounds the weights and is shown apart. The file is in the page cache of the
kernel for the others. Memory ÷ size of the file: what the process has more than before of anonymous memory (ONNX
Runtime's copy of the weights, buffers, objects) and of the file's pages; then with ONNX Runtime's library as well.`;
const run = promisify(execFile);

interface Measured {
  readonly blockSize: number;
  readonly fileBytes: number;
  readonly quantizeMs: number;
  readonly openMs: Spread;
  readonly firstTokenMs: Spread;
  readonly memory: Spread;
  readonly withLibraries: Spread;
}

async function measure(rounds: number, threads: number): Promise<readonly Measured[]> {
  const progress = new Progress({ quiet: false });
  const folder = await randomModelFolder('qwen2.5-0.5b', progress.show);
  const cache = mkdtempSync(join(tmpdir(), 'millrace-cold-start-'));
  try {
    const measured: Measured[] = [];
    for (const blockSize of BLOCK_SIZES) {
      const start = async (): Promise<StartResult> => {
        const work: StartWork = { folder, cache, blockSize, threads };
        const { stdout } = await run(process.execPath, [PROGRAM, JSON.stringify(work)]);
        return JSON.parse(stdout) as StartResult;
      };
      const others = bytesIn(cache);
      progress.show(`int4 b${blockSize}: reading and rounding`);
      const first = await start();
      const fileBytes = bytesIn(cache) - others;
      const starts: StartResult[] = [];
      while (starts.length < rounds) {
        progress.show(`int4 b${blockSize}: start ${starts.length + 1} of ${rounds}`);
        starts.push(await start());
      }
      if (!first.quantized || starts.some(({ quantized }) => quantized)) throw new Error('the cache was not used');
      measured.push({
        ...{ blockSize, fileBytes, quantizeMs: first.openMs },
        openMs: spreadOf(starts.map(({ openMs }) => openMs)),
        firstTokenMs: spreadOf(starts.map(({ firstTokenMs }) => firstTokenMs)),
        memory: spreadOf(starts.map(({ weightBytes }) => weightBytes / fileBytes)),
        withLibraries: spreadOf(starts.map(({ grownBytes }) => grownBytes / fileBytes)),
      });
    }
    return measured;
  } finally {
    progress.clear();
    rmSync(cache, { recursive: true });
  }
}

function bytesIn(folder: string): number {
  const files = readdirSync(folder).filter((name) => name.endsWith('.weights'));
  return files.reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
}

function report(measured: readonly Measured[]): void {
  const columns = [
    ...[left('weights'), right('file MB'), right('first start ms'), right('open ms'), right('first token ms')],
    ...[right('must'), right('memory ÷ file'), right('must'), right('with libraries')],
  ];
  const rows = measured.map(({ blockSize, fileBytes, quantizeMs, openMs, firstTokenMs, memory, withLibraries }) => [
    ...[`int4 b${blockSize}`, (fileBytes / 1e6).toFixed(0), quantizeMs.toFixed(0), formatSpread(openMs)],
    ...[formatSpread(firstTokenMs), judged(firstTokenMs, MUST.firstTokenMs)],
    ...[formatSpread(memory), judged(memory, MUST.memory), formatSpread(withLibraries)],
  ]);
  console.log(`${formatTable(columns, rows)}\n`);
  console.log(JSON.stringify({ bench: 'cold-start', date: new Date(), machine: thisMachine(), measured }));
}

const judged = ({ median }: Spread, most: number): string => `≤ ${most}: ${median <= most ? 'met' : 'missed'}`;

const text = { type: 'string' } as const;
const { values } = parseArgs({ options: { rounds: text, threads: text, help: { type: 'boolean' } } });
if (values.help === true) console.log(HELP);
else {
  const rounds = integer('rounds', values.rounds ?? '5', { min: 1, max: 100 });
  report(
    await measure(rounds, integer('threads', values.threads ?? String(thisMachine().cores), { min: 1, max: 256 })),
  );
}
