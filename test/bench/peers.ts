/** `npm run bench:peers`: Millrace beside node-llama-cpp and Transformers.js on one model, in interleaved rounds. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { peerModels, type PeerModels } from './peers/models.ts';
import { HELP, readOptions, SYSTEMS, type PeersOptions, type SystemName } from './peers/options.ts';
import { agreementText, figureTable, ratiosJson, ratiosOf, ratioTable } from './peers/report.ts';
import type { PeerResult, PeerWork } from './peers/work.ts';
import { Eta, Progress } from './progress.ts';
import { thisMachine } from './report.ts';
import { interleave } from './rounds.ts';

const FOLDER = fileURLToPath(new URL('./peers', import.meta.url));
const run = promisify(execFile);

async function main(options: PeersOptions): Promise<void> {
  const date = new Date();
  const progress = new Progress({ quiet: false });
  await install(progress);
  const models = await peerModels(options.shape, { threads: options.threads, show: progress.show });
  const results: Partial<Record<SystemName, PeerResult[]>> = {};
  const failures: { system: SystemName; message: string }[] = [];
  const runs = interleave(options.systems, options.rounds);
  const eta = new Eta(runs.length);
  for (const { round, variant: system } of runs) {
    if (failures.some((failure) => failure.system === system)) continue;
    progress.show(`${SYSTEMS[system]}, round ${round + 1} of ${options.rounds}; ${eta.text}`);
    const begin = performance.now();
    try {
      (results[system] ??= []).push(await measure(system, { ...options, models, round }));
    } catch (error) {
      // The others still have something to say.
      failures.push({ system, message: error instanceof Error ? error.message : String(error) });
    }
    eta.done(1, performance.now() - begin);
  }
  progress.clear();
  const ratios = ratiosOf(results);
  console.log(`${figureTable(results)}\n\n${ratioTable(ratios)}\n`);
  console.log(
    'Medians over rounds [min–max]; ratios round by round. Decoding greedy, by streams; prefill by prompt length.\n',
  );
  console.log(`${agreementText(results)}\n`);
  for (const { system, message } of failures) console.log(`${SYSTEMS[system]} failed: ${message}`);
  const head = { bench: 'peers', date, machine: thisMachine(), parameters: options };
  console.log(JSON.stringify({ ...head, results, ratios: ratiosJson(ratios), failures }));
  if (failures.length > 0) process.exitCode = 1;
}

async function install(progress: Progress): Promise<void> {
  if (existsSync(join(FOLDER, 'node_modules', 'node-llama-cpp'))) return;
  progress.show('npm ci: node-llama-cpp and Transformers.js (1.2 GB)');
  await run('npm', ['ci'], { cwd: FOLDER });
}

interface Setting extends PeersOptions {
  readonly models: PeerModels;
  readonly round: number;
}

const PROGRAMS = { millrace: 'millrace.ts', llama: 'llama.mjs', transformers: 'transformers.mjs' } as const;

async function measure(system: SystemName, setting: Setting): Promise<PeerResult> {
  const { threads, batches, promptTokens, outputTokens, prefills, round, models } = setting;
  const { program, only, ...own } = specialsOf(system, models);
  const work: PeerWork = {
    ...{ threads, promptTokens, outputTokens, prefills, round, vocabSize: models.vocabSize },
    batches: only === undefined ? batches : batches.filter((batch) => only.includes(batch)),
    ...own,
  };
  const env = { ...process.env, ORT_DISABLE_TELEMETRY: '1' };
  const { stdout } = await run(process.execPath, [join(FOLDER, PROGRAMS[program]), JSON.stringify(work)], { env });
  const line = stdout.trim().split('\n').at(-1) ?? '';
  return JSON.parse(line) as PeerResult;
}

interface Specials extends Pick<PeerWork, 'model' | 'quantization' | 'blockSize' | 'cache'> {
  readonly program: keyof typeof PROGRAMS;
  /** Streams at which it is compared; left out: all that are asked for. */
  readonly only?: readonly number[];
  readonly prefills?: readonly number[];
}

/** What is peculiar to a system: its program, its model, and what it is not compared at. */
function specialsOf(system: SystemName, models: PeerModels): Specials {
  const cache = `${models.folder}-peers`;
  switch (system) {
    case 'millrace-int4-b32':
      return { program: 'millrace', model: models.folder, quantization: 'int4', blockSize: 32, cache };
    case 'millrace-int4-b128':
      return { program: 'millrace', model: models.folder, quantization: 'int4', blockSize: 128, cache };
    case 'millrace-int8':
      return { program: 'millrace', model: models.folder, quantization: 'int8', cache, ...EIGHT_BITS };
    case 'llama-q4_0':
      return { program: 'llama', model: models.q4 };
    case 'llama-q8_0':
      return { program: 'llama', model: models.q8, ...EIGHT_BITS };
    case 'transformers-q4':
      // The logits of all prompt tokens, which it computes, leave no memory for more.
      return { program: 'transformers', model: models.onnx, only: [1, 4], prefills: [] };
  }
}

const EIGHT_BITS = { only: [4, 16], prefills: [] } as const;

try {
  const options = readOptions(process.argv.slice(2));
  if (options === null) console.log(HELP);
  else await main(options);
} catch (error) {
  console.error(`\n${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
