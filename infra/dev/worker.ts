/** Starts a gpu-worker process of the dev stack on a nats-server. */
import { fileURLToPath } from 'node:url';
import { Child, untilReady } from './child.ts';
import type { NatsServer } from './nats.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

export interface WorkerOptions {
  readonly nats: Pick<NatsServer, 'url' | 'worker'>;
  /** A Hugging Face folder. */
  readonly model: string;
  /** More flags of gpu-worker/main.ts. */
  readonly flags?: readonly string[];
  /** More of its environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly onLine?: (line: string) => void;
  /** As soon as the process exists, before it is ready. */
  readonly onChild?: (child: Child) => void;
}

export interface WorkerProcess extends AsyncDisposable {
  readonly child: Child;
  /** Of its health and metrics server. */
  readonly url: string;
}

/** Resolves when the worker's /health answers 200: model loaded, on the bus. */
export async function startWorker({
  nats,
  model,
  flags = [],
  env = {},
  onLine = () => {},
  onChild,
}: WorkerOptions): Promise<WorkerProcess> {
  // The system picks its port, which nobody can take meanwhile; the first line it logs names it.
  let url: string | null = null;
  const child = new Child({
    command: process.execPath,
    args: ['gpu-worker/main.ts', '--model', model, '--http-port', '0', ...flags],
    cwd: ROOT,
    env: {
      ORT_DISABLE_TELEMETRY: '1',
      NATS_URL: nats.url,
      NATS_USER: nats.worker.user,
      NATS_PASSWORD: nats.worker.password,
      ...env,
    },
    onLine: (line) => {
      url ??= /"http":"([^"]+)"/.exec(line)?.[1] ?? null;
      onLine(line);
    },
  });
  onChild?.(child);
  const check = async () => (url !== null && (await fetch(`${url}/health`)).ok ? url : null);
  const ready = await untilReady(child, { name: 'the worker', check });
  return { child, url: ready, [Symbol.asyncDispose]: () => child[Symbol.asyncDispose]() };
}
