/** `npm start`: nats-server, a worker and the edge on workerd, until Ctrl-C. */
import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { untilReady, type Child } from './child.ts';
import { DEV_TENANT, startEdge, type EdgeProcess } from './edge.ts';
import { startNats, type NatsServer } from './nats.ts';
import { readStartOptions, startHelp, type StartOptions } from './start-options.ts';
import { startWorker } from './worker.ts';

const options = read();

type Nats = Pick<NatsServer, 'url' | 'wsUrl' | 'worker' | 'gateway'>;

/** Children in order of start; they end in reverse. */
const parts: { readonly name: string; readonly child: Child }[] = [];
/** Local state of the edge. */
const folder = fileURLToPath(new URL(`../../.wrangler/start-${process.pid}`, import.meta.url));
let ending = false;
let lastSignalMs = Number.NEGATIVE_INFINITY;

function read(): StartOptions {
  try {
    const given = readStartOptions(process.argv.slice(2), process.env);
    if (given !== null) return given;
    console.log(startHelp());
    return process.exit(0);
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    return process.exit(2);
  }
}

function printer(name: string): (line: string) => void {
  return (line) => {
    if (options.verbose || /error|warn|fatal/i.test(line)) console.log(`[${name}] ${line}`);
  };
}

/** Ends every part once and then the process; later calls change nothing. */
async function end(code: number): Promise<void> {
  if (ending) return;
  ending = true;
  for (const { name, child } of parts.toReversed()) console.log(`[${name}] ended: ${await child.stop()}`);
  rmSync(folder, { recursive: true, force: true });
  process.exit(code);
}

function fail(message: string): Promise<void> {
  if (!ending) console.error(`\n${message}`);
  return end(1);
}

/** The stack lives as long as each of its parts. */
function watch(name: string): (child: Child) => void {
  return (child) => {
    parts.push({ name, child });
    if (ending) child.kill('SIGTERM');
    void child.exited.then((how) => fail(`[${name}] ended unexpectedly (${how}). Its last lines:\n${child.lastLines}`));
  };
}

/** A second one does not wait; within a second it is the same one, which npm passes on once more. */
function onSignal(): void {
  const nowMs = performance.now();
  if (ending && nowMs - lastSignalMs > 1000) process.exit(1);
  lastSignalMs = nowMs;
  void end(0);
}

/** A running server by NATS_URL, or one of our own. */
async function nats(): Promise<Nats> {
  const { NATS_URL: url, NATS_WS_URL: wsUrl, NATS_USER: user = '', NATS_PASSWORD: password = '' } = process.env;
  if (url !== undefined) {
    if (wsUrl === undefined) throw new Error('NATS_URL is set but NATS_WS_URL is not: the edge connects by WebSocket.');
    return { url, wsUrl, worker: { user, password }, gateway: { user, password } };
  }
  return startNats({
    onLine: printer('nats'),
    onProgress: (line) => console.log(`[nats] ${line}`),
    onChild: watch('nats'),
  });
}

/** The served model's name once the edge sees the worker. */
async function servedModel(edge: EdgeProcess): Promise<string> {
  const headers = { authorization: `Bearer ${edge.apiKey}` };
  const check = async () => {
    const response = await fetch(`${edge.url}/v1/models`, { headers });
    const { data = [] } = (await response.json()) as { readonly data?: readonly { readonly id: string }[] };
    return data[0]?.id ?? null;
  };
  return untilReady(edge.child, { name: 'the way from edge to worker', check, timeoutMs: 15_000 });
}

async function main(): Promise<void> {
  const begin = performance.now();
  const progress = (text: string) =>
    console.log(`${((performance.now() - begin) / 1000).toFixed(1).padStart(5)} s  ${text}`);
  progress('nats-server …');
  const bus = await nats();
  progress('worker (loads the model) and edge (workerd) …');
  const [worker, edge] = await Promise.all([
    startWorker({
      nats: bus,
      model: options.model,
      flags: options.workerFlags,
      onLine: printer('worker'),
      onChild: watch('worker'),
    }),
    startEdge({
      ...{ nats: bus, folder, preferredPort: options.port },
      ...{ onLine: printer('edge'), onChild: watch('edge') },
    }),
  ]);
  const model = await servedModel(edge);
  progress('ready');
  console.log(`
  URL       ${edge.url}/v1
  API key   ${edge.apiKey}
  tenant    ${DEV_TENANT}
  model     ${model}
  metrics   ${worker.url}/metrics

  curl -N ${edge.url}/v1/chat/completions \\
    -H 'authorization: Bearer ${edge.apiKey}' -H 'content-type: application/json' \\
    -d '{"model":"${model}","stream":true,"messages":[{"role":"user","content":"Explain transformers"}]}'

  Ctrl-C ends all of it.
`);
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal);
await main().catch((error: unknown) => fail(error instanceof Error ? error.message : String(error)));
