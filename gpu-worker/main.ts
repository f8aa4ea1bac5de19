/** Composition root of the worker: config → health → engine → bus; signals → drain. */
import { MillraceError } from '../shared/errors.ts';
import { busProblem, busRefusal } from './bus-problem.ts';
import { ConfigError, helpText, loweredLength, readConfig, unknownModel, type Config } from './config.ts';
import { EngineClient } from './engine/engine-client.ts';
import { addGpuMetrics } from './gpu-metrics.ts';
import { startHealth } from './health.ts';
import { readGenerationDefaults } from './model/generation-config.ts';
import { modelFolder, modelPlace } from './model/hub.ts';
import type { DownloadProgress } from './model/hub.ts';
import { Metrics } from './metrics.ts';
import { gpuReader } from './model/runtime/nvml.ts';
import { TokenBytes } from './text/detokenizer.ts';
import { PromptEncoder } from './text/prompt.ts';
import { startWatchdog } from './watchdog.ts';
import { BusWorker } from './worker.ts';

/** Why the worker cannot be given work; null when it can. */
type Unready = string | null;

function log(entry: object): void {
  process.stdout.write(`${JSON.stringify({ time: new Date().toISOString(), ...entry })}\n`);
}

/** Logs every tenth of the way of each kind of work. */
function tenthsLog(): (event: string, done: number, total: number) => void {
  let last = '';
  return (event, done, total) => {
    const percent = Math.floor((10 * done) / Math.max(1, total)) * 10;
    if (`${event} ${percent}` === last) return;
    last = `${event} ${percent}`;
    log({ event, percent, done, total });
  };
}

const LOADING_EVENTS = { weights: 'reading-weights', pruning: 'pruning', calibration: 'calibrating-kv-cache' } as const;

class WorkerProcess {
  readonly #config: Config;
  readonly #metrics = new Metrics();
  #engine: EngineClient | null = null;
  #worker: BusWorker | null = null;
  #stopWatchdog: () => void = () => {};
  #signals = 0;
  #lastSignalMs = Number.NEGATIVE_INFINITY;
  #failed = false;

  constructor(config: Config) {
    this.#config = config;
  }

  async start(): Promise<void> {
    const config = this.#config;
    if (modelPlace(config.model) === null) throw unknownModel('--model (MILLRACE_MODEL)', config.model);
    const http = await startHealth({
      host: config.httpHost,
      port: config.httpPort,
      unready: () => this.#unready(),
      metrics: () => this.#metrics.registry.metrics(),
    }).catch((cause: unknown) => {
      const fix = 'correct --http-host (MILLRACE_HTTP_HOST) or --http-port (MILLRACE_HTTP_PORT)';
      throw new Error(`${messageOf(cause)}: ${fix}`, { cause });
    });
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => this.#shutdown(signal));
    log({ event: 'loading', model: config.model, quantization: config.quantization, http });
    const folder = await this.#folder();
    const logTenths = tenthsLog();
    const engine = await EngineClient.start({ ...config, folder }, ({ work, done, total }) =>
      logTenths(LOADING_EVENTS[work], done, total),
    );
    this.#engine = engine;
    engine.onFatal((message) => this.#fatal(message));
    const lowered = loweredLength(config.maxModelLen, engine.info.maxModelLen);
    if (lowered !== null) log({ event: 'lowered', message: lowered });
    const { maxModelLen, maxNumSeqs, kv, kvType, fingerprint, loadMs, vocabSize } = engine.info;
    const kvTokens = kv.capacityTokens;
    const loaded = { names: config.names, maxModelLen, maxNumSeqs, kvTokens, kvType, fingerprint };
    log({ event: 'loaded', ...loaded, loadMs: Math.round(loadMs) });
    const readGpu = engine.info.gpu === undefined ? null : gpuReader(engine.info.gpu);
    if (readGpu !== null) addGpuMetrics(this.#metrics.registry, readGpu);
    const serving = BusWorker.start({
      ...{ config, engine, metrics: this.#metrics, log },
      encoder: new PromptEncoder(folder, vocabSize),
      tokenBytes: TokenBytes.fromFolder(folder),
      defaults: readGenerationDefaults(folder),
      onDrain: () => {
        if (this.#signals === 0) this.#shutdown('drain');
      },
      onLost: (reason) => this.#fatal(busRefusal(reason, config.nats) ?? reason),
    });
    const worker = await serving.catch((cause: unknown) => {
      throw new Error(busProblem(messageOf(cause), config.nats), { cause });
    });
    this.#worker = worker;
    const { stepTimeoutMs } = config;
    const lastStep = () => engine.lastStep();
    this.#stopWatchdog = startWatchdog({ stepTimeoutMs, lastStep, onHung: (message) => this.#fatal(message, true) });
    log({ event: 'serving', worker: config.workerId, epoch: worker.epoch, http });
  }

  #folder(): Promise<string> {
    const { model, revision, hub } = this.#config;
    const onNotice = (message: string) => log({ event: 'hub', message });
    const logTenths = tenthsLog();
    const onProgress = ({ doneBytes, totalBytes }: DownloadProgress) => logTenths('downloading', doneBytes, totalBytes);
    return modelFolder({ id: model, revision }, { settings: hub, onProgress, onNotice });
  }

  #unready(): Unready {
    if (this.#failed) return 'failed';
    if (this.#signals > 0) return 'draining';
    if (this.#worker === null) return 'loading';
    return this.#worker.connected ? null : 'off the bus';
  }

  /** The first signal drains, the second ends at once. */
  #shutdown(signal: string): void {
    const nowMs = performance.now();
    // Within a second it is the same Ctrl-C, which npm passes on once more.
    const again = signal === 'SIGINT' && nowMs - this.#lastSignalMs < 1000;
    this.#lastSignalMs = nowMs;
    if (again) return;
    if (++this.#signals > 1) process.exit(1);
    if (this.#worker === null) process.exit(0);
    void this.#drain(this.#worker, signal);
  }

  async #drain(worker: BusWorker, signal: string): Promise<void> {
    log({ event: 'draining', signal, live: worker.live });
    await worker.drain();
    // It waits for the step under way, which may hang like any other.
    await this.#engine?.shutdown();
    this.#stopWatchdog();
    if (this.#failed) return;
    log({ event: 'stopped', signal });
    process.exit(0);
  }

  /** Every live request gets its error, then the process ends; whoever supervises it starts another. */
  #fatal(message: string, hung = false): void {
    if (this.#failed) return;
    this.#failed = true;
    log({ event: 'fatal', message });
    this.#engine?.kill();
    const error = new MillraceError('server_error', 'The worker failed while processing this request.');
    void (this.#worker?.fail(error) ?? Promise.resolve()).finally(() => {
      // A thread stuck in native code cannot be joined, and exit() would wait for it for ever.
      if (hung) process.kill(process.pid, 'SIGKILL');
      else process.exit(1);
    });
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

try {
  const config = readConfig(process.argv.slice(2));
  if (config === null) console.log(helpText());
  else await new WorkerProcess(config).start();
} catch (error) {
  const message = messageOf(error);
  console.error(error instanceof ConfigError ? message : `The worker could not start: ${message}`);
  process.exit(error instanceof ConfigError ? 2 : 1);
}
