/** `npm run bench`: tokens/s and TTFT through the whole path and in the engine alone. Arguments and order only. */
import { performance } from 'node:perf_hooks';
import { closedLoop, type BenchRequest, type Target } from './closed-loop.ts';
import { EngineTarget } from './engine-load.ts';
import { figuresOf } from './figures.ts';
import { sendChat } from './load.ts';
import { BENCH_MODELS, type BenchModelName } from './models.ts';
import { HELP, readOptions, type BenchOptions } from './options.ts';
import { Eta, Progress } from './progress.ts';
import { PromptMaker } from './prompts.ts';
import { reportJson, reportTable, thisMachine, type Cell, type Way } from './report.ts';
import { interleave } from './rounds.ts';
import { startWholePath } from './whole-path.ts';

const WARM_UP_TOKENS = 8;

interface Measurement {
  readonly name: BenchModelName;
  readonly options: BenchOptions;
  readonly targets: Readonly<Record<Way, Target>>;
  readonly prompts: PromptMaker;
  readonly progress: Progress;
}

async function benchModel(name: BenchModelName, options: BenchOptions, progress: Progress): Promise<readonly Cell[]> {
  const { quantization, folder: find } = BENCH_MODELS[name];
  const folder = await find((text) => progress.show(`${name}: ${text}`));
  const slots = String(Math.max(...options.concurrency));
  const flags = ['--model', folder, '--quantization', quantization, '--max-num-seqs', slots];
  progress.show(`${name}: starting nats-server, worker and edge`);
  await using path = await startWholePath({ folder, model: name, flags: flags.slice(2), progress: progress.show });
  progress.show(`${name}: opening the model once more, for the engine alone`);
  await using engine = await EngineTarget.start(flags);
  const prompts = new PromptMaker(folder, engine.vocabSize, options.promptTokens);
  const targets: Measurement['targets'] = {
    engine: (request) => engine.send(request),
    path: (request) => sendChat(path.endpoint, request),
  };
  // Awaited here: the parts end when this function does.
  return await measure({ name, options, targets, prompts, progress });
}

async function measure(measurement: Measurement): Promise<readonly Cell[]> {
  const { name, options, targets, progress } = measurement;
  const most = Math.max(...options.concurrency);
  for (const [way, target] of Object.entries(targets)) {
    progress.show(`${name}: warm-up, ${way}`);
    const requests = requestsOf(measurement, `warm-up`, most).map((each) => {
      return { ...each, maxTokens: Math.min(WARM_UP_TOKENS, each.maxTokens) };
    });
    await closedLoop(target, requests, most);
  }
  const total = options.concurrency.reduce((sum, concurrency) => sum + requestCount(options, concurrency), 0);
  const eta = new Eta(total * options.rounds * Object.keys(targets).length);
  const cells: Cell[] = [];
  for (const concurrency of options.concurrency) cells.push(...(await measureCells(measurement, concurrency, eta)));
  return cells;
}

/** The cells of one concurrency, their rounds in turn. */
async function measureCells(measurement: Measurement, concurrency: number, eta: Eta): Promise<readonly Cell[]> {
  const { name, options, targets, progress } = measurement;
  const { quantization } = BENCH_MODELS[name];
  const count = requestCount(options, concurrency);
  const cell = (way: Way) => {
    const rounds: Cell['rounds'][number][] = [];
    return { model: name, quantization, concurrency, way, requests: count, outputTokens: 0, rounds };
  };
  const cells = [cell('engine'), cell('path')];
  for (const { round, variant } of interleave(cells, options.rounds)) {
    const what = `${name}: concurrency ${concurrency}, ${variant.way}, round ${round + 1} of ${options.rounds}`;
    progress.show(`${what}; ${eta.text} for ${name}`);
    const requests = requestsOf(measurement, `${concurrency} ${round}`, count);
    const begin = performance.now();
    const traces = await closedLoop(targets[variant.way], requests, concurrency);
    eta.done(count, performance.now() - begin);
    variant.outputTokens = traces.reduce((sum, { tokens }) => sum + tokens, 0);
    variant.rounds.push(figuresOf(traces));
  }
  return cells;
}

function requestCount({ requests }: BenchOptions, concurrency: number): number {
  return Math.max(requests, concurrency);
}

/** The same for both ways, and new ones in every round: no prefix cache can know them. */
function requestsOf({ options, prompts }: Measurement, key: string, count: number): readonly BenchRequest[] {
  return Array.from({ length: count }, (_, i) => {
    return { prompt: prompts.make(`${key} ${i}`), maxTokens: options.maxTokens, seed: i };
  });
}

async function main(options: BenchOptions): Promise<void> {
  const date = new Date();
  const progress = new Progress({ quiet: options.jsonOnly });
  const cells: Cell[] = [];
  for (const name of options.models) cells.push(...(await benchModel(name, options, progress)));
  progress.clear();
  if (!options.jsonOnly) console.log(`${reportTable(cells)}\n`);
  const { jsonOnly: _, ...parameters } = options;
  console.log(reportJson({ bench: 'serve', date, machine: thisMachine(), parameters }, cells));
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(1));
try {
  const options = readOptions(process.argv.slice(2));
  if (options === null) console.log(HELP);
  else await main(options);
} catch (error) {
  console.error(`\n${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
