/** Composition root of the worker: config → engine → bus → health; signals → drain. */
import { MillraceError } from '../shared/errors.ts';
import { ConfigError, helpText, readConfig, type Config } from './config.ts';
import { EngineClient } from './engine/engine-client.ts';
import { startHealth } from './health.ts';
import { Metrics } from './metrics.ts';
import { PromptEncoder } from './text/prompt.ts';
import { startWatchdog } from './watchdog.ts';
import { BusWorker } from './worker.ts';

function log(entry: object): void {
  process.stdout.write(`${JSON.stringify({ time: new Date().toISOString(), ...entry })}\n`);
}

async function serve(config: Config): Promise<void> {
  log({ event: 'loading', model: config.model, quantization: config.quantization });
  const engine = await EngineClient.start({ ...config, folder: config.model });
  const { maxModelLen, slots, fingerprint, loadMs } = engine.info;
  log({ event: 'loaded', names: config.names, maxModelLen, slots, fingerprint, loadMs: Math.round(loadMs) });
  const encoder = new PromptEncoder(config.model, engine.info.vocabSize);
  const metrics = new Metrics();
  const worker = await BusWorker.start({ config, engine, encoder, metrics, log });
  const stopWatchdog = startWatchdog({ ...config, lastStep: () => engine.lastStep(), onHung: fatal });
  const server = await startHealth({
    host: config.httpHost,
    port: config.httpPort,
    unready: () => (worker.draining ? 'draining' : worker.connected ? null : 'off the bus'),
    metrics: () => metrics.registry.metrics(),
  });
  engine.onFatal(fatal);
  let signals = 0;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void shutdown(signal));
  log({ event: 'serving', worker: config.workerId, epoch: worker.epoch, http: config.httpPort });

  async function shutdown(signal: string): Promise<void> {
    if (++signals > 1) process.exit(1);
    log({ event: 'draining', signal, live: worker.live });
    await worker.drain();
    stopWatchdog();
    server.close();
    await engine.shutdown();
    log({ event: 'ended', signal });
    process.exit(0);
  }

  function fatal(message: string): void {
    log({ event: 'fatal', message });
    engine.kill();
    const error = new MillraceError('server_error', 'The worker failed while processing this request.');
    void worker.fail(error).finally(() => process.exit(1));
  }
}

try {
  const config = readConfig(process.argv.slice(2));
  if (config === null) console.log(helpText());
  else await serve(config);
} catch (error) {
  const message = error instanceof Error ? error.message : String(error);
  console.error(error instanceof ConfigError ? message : `The worker could not start: ${message}`);
  process.exit(error instanceof ConfigError ? 2 : 1);
}
