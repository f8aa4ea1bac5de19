/** `npm start`: nats-server, a worker with the embedded model and the edge on workerd, until Ctrl-C. */
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { Child } from './child.ts';
import { startEdge } from './edge.ts';
import { startNats } from './nats.ts';
import type { NatsServer } from './nats.ts';
import { startWorker } from './worker.ts';

const HELP = `npm start [-- options]
  --model <folder>   Hugging Face folder to serve   [models/millrace-mini]
  --port <number>    first port to try for the edge [8787]
  --verbose          print everything the parts print
  --help

With NATS_URL, NATS_WS_URL, NATS_USER and NATS_PASSWORD set, that server is used and none is started.`;

const { values } = parseArgs({
  options: {
    model: { type: 'string', default: fileURLToPath(new URL('../../models/millrace-mini', import.meta.url)) },
    port: { type: 'string', default: '8787' },
    verbose: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

type Nats = Pick<NatsServer, 'url' | 'wsUrl' | 'worker' | 'gateway'>;

/** Children in order of start; they end in reverse. */
const parts: { readonly name: string; readonly child: Child }[] = [];
let ending = false;

function printer(name: string): (line: string) => void {
  return (line) => {
    if (values.verbose || /error|warn|fatal|building|taking/i.test(line)) console.log(`[${name}] ${line}`);
  };
}

async function end(code: number): Promise<never> {
  if (ending) process.exit(1);
  ending = true;
  for (const { name, child } of parts.toReversed()) console.log(`[${name}] ended: ${await child.stop()}`);
  process.exit(code);
}

function watch(name: string, child: Child): void {
  parts.push({ name, child });
  void child.exited.then((how) => {
    if (ending) return;
    console.error(`\n[${name}] ended unexpectedly (${how}). Its last lines:\n${child.lastLines}`);
    return end(1);
  });
}

/** A running server by NATS_URL, or one of our own. */
async function nats(): Promise<Nats> {
  const { NATS_URL: url, NATS_WS_URL: wsUrl, NATS_USER: user = '', NATS_PASSWORD: password = '' } = process.env;
  if (url !== undefined) {
    if (wsUrl === undefined) throw new Error('NATS_URL is set but NATS_WS_URL is not: the edge connects by WebSocket.');
    return { url, wsUrl, worker: { user, password }, gateway: { user, password } };
  }
  const server = await startNats({ onLine: printer('nats') });
  watch('nats', server.child);
  return server;
}

async function main(): Promise<void> {
  const begin = performance.now();
  const progress = (text: string) =>
    console.log(`${((performance.now() - begin) / 1000).toFixed(1).padStart(5)} s  ${text}`);
  progress('nats-server …');
  const bus = await nats();
  progress('worker (loads the model) and edge (workerd) …');
  const folder = fileURLToPath(new URL(`../../.wrangler/start-${process.pid}`, import.meta.url));
  const [worker, edge] = await Promise.all([
    startWorker({ nats: bus, model: values.model, onLine: printer('worker') }),
    startEdge({ nats: bus, folder, preferredPort: Number(values.port), onLine: printer('edge') }),
  ]);
  watch('worker', worker.child);
  watch('edge', edge.child);
  const models = (await (
    await fetch(`${edge.url}/v1/models`, { headers: { authorization: `Bearer ${edge.apiKey}` } })
  ).json()) as {
    readonly data?: readonly { readonly id: string }[];
  };
  const model = models.data?.[0]?.id ?? 'millrace-mini';
  progress('ready');
  console.log(`
  URL       ${edge.url}/v1
  API key   ${edge.apiKey}
  model     ${model}
  metrics   ${worker.url}/metrics

  curl -N ${edge.url}/v1/chat/completions \\
    -H 'authorization: Bearer ${edge.apiKey}' -H 'content-type: application/json' \\
    -d '{"model":"${model}","stream":true,"messages":[{"role":"user","content":"Explain transformers"}]}'

  Ctrl-C ends all of it.
`);
}

if (values.help) {
  console.log(HELP);
} else {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => void end(0));
  await main().catch((error: unknown) => {
    console.error(`\n${error instanceof Error ? error.message : String(error)}`);
    return end(1);
  });
}
