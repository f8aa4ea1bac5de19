/** nats-server, the edge on workerd and worker processes of simulated speed, started anew for each routing. Measures nothing. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { mintKey } from '../../../edge/key.ts';
import type { Routing } from '../../../edge/prefix/router.ts';
import { Child, untilReady } from '../../../infra/dev/child.ts';
import { runEdge, startEdge, type EdgeProcess, type EdgeState, type SeededKey } from '../../../infra/dev/edge.ts';
import { startNats, type NatsServer } from '../../../infra/dev/nats.ts';
import { freePort } from '../../../infra/dev/ports.ts';
import type { WorkerdConfig } from '../../../infra/dev/workerd.ts';
import type { StepCosts } from './simulated-runner.ts';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
export const MODEL = 'millrace-mini';

export interface StackOptions {
  readonly tenants: number;
  /** Gateway Durable Objects; a tenant belongs to one. */
  readonly gateways: number;
  readonly progress: (text: string) => void;
}

export interface FleetOptions {
  readonly workers: number;
  readonly routing: Routing;
  readonly costs: StepCosts;
  /** Of each worker, beside its name and place. */
  readonly flags: readonly string[];
}

export interface Fleet extends AsyncDisposable {
  readonly url: string;
  /** Of each worker, read from its /metrics. */
  metrics(): Promise<readonly WorkerMetrics[]>;
}

/** Totals since the worker's start. */
export interface WorkerMetrics {
  readonly requests: number;
  readonly busySeconds: number;
  readonly steps: number;
}

export class FleetStack implements AsyncDisposable {
  readonly apiKeys: readonly string[];
  readonly #nats: NatsServer;
  readonly #state: EdgeState;
  readonly #folder: string;

  static async start({ tenants, gateways, progress }: StackOptions): Promise<FleetStack> {
    const folder = mkdtempSync(join(tmpdir(), 'millrace-bench-'));
    const removeFolder = () => rmSync(folder, { recursive: true, force: true });
    // A signal ends this process without disposing; the children end with it.
    process.once('exit', removeFolder);
    const apiKeys: string[] = [];
    const keys = async (pepper: string): Promise<readonly SeededKey[]> => {
      const minted = await Promise.all(Array.from({ length: tenants }, () => mintKey(pepper)));
      apiKeys.push(...minted.map(({ key }) => key));
      return minted.map(({ publicId, secretHash }, i) => ({ publicId, secretHash, tenant: `tenant-${i}` }));
    };
    progress('starting nats-server and the edge');
    const nats = await startNats({ onProgress: progress });
    const edge = await startEdge({ nats, folder, keys, vars: { GATEWAY_SHARDS: String(gateways) } });
    await edge[Symbol.asyncDispose]();
    return new FleetStack({ nats, state: edge.state, apiKeys, folder });
  }

  private constructor(parts: { nats: NatsServer; state: EdgeState; apiKeys: readonly string[]; folder: string }) {
    this.#nats = parts.nats;
    this.#state = parts.state;
    this.apiKeys = parts.apiKeys;
    this.#folder = parts.folder;
  }

  /** Fresh workers and a fresh edge; nobody knows any prefix. */
  async open({ workers: count, routing, costs, flags }: FleetOptions): Promise<Fleet> {
    await using stack = new AsyncDisposableStack();
    const workers: SimulatedWorkerProcess[] = [];
    const ids = Array.from({ length: count }, (_, i) => `w${i}`);
    // Two at a time: their start is the heaviest part of this bench.
    for (let i = 0; i < count; i += 2) {
      const start = (id: string) => startSimulatedWorker({ nats: this.#nats, id, costs, flags });
      const started = await Promise.all(ids.slice(i, i + 2).map(start));
      workers.push(...started.map((worker) => stack.use(worker)));
    }
    const edge = stack.use(await this.#edge(routing));
    await this.#untilSeen(edge, count);
    const parts = stack.move();
    return {
      url: edge.url,
      metrics: () => Promise.all(workers.map(({ url }) => readMetrics(url))),
      [Symbol.asyncDispose]: () => parts.disposeAsync(),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#nats[Symbol.asyncDispose]();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #edge(routing: Routing): Promise<EdgeProcess> {
    const { configFile } = this.#state;
    const config = JSON.parse(readFileSync(configFile, 'utf8')) as WorkerdConfig;
    const bindings = { ...config.bindings, ROUTING: routing };
    writeFileSync(configFile, JSON.stringify({ ...config, bindings }), { mode: 0o600 });
    return runEdge(this.#state);
  }

  /** By every gateway. */
  async #untilSeen(edge: EdgeProcess, count: number): Promise<void> {
    const check = async () => {
      const { workers } = (await (await fetch(`${edge.url}/health`)).json()) as { readonly workers?: number };
      return workers === count ? true : null;
    };
    await untilReady(edge.child, { name: 'the way from the edge to all workers', check, timeoutMs: 30_000 });
    await Promise.all(
      this.apiKeys.map((key) => fetch(`${edge.url}/v1/models`, { headers: { authorization: `Bearer ${key}` } })),
    );
  }
}

interface SimulatedWorkerProcess extends AsyncDisposable {
  /** Of its health and metrics server. */
  readonly url: string;
}

interface SimulatedWorkerOptions extends Pick<FleetOptions, 'costs' | 'flags'> {
  readonly nats: NatsServer;
  readonly id: string;
}

async function startSimulatedWorker(options: SimulatedWorkerOptions): Promise<SimulatedWorkerProcess> {
  const { nats, id, costs, flags } = options;
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const names = ['--worker-id', id, '--http-port', String(port), '--model', `models/${MODEL}`];
  const child = new Child({
    command: process.execPath,
    args: ['test/bench/routing/simulated-worker.ts', ...names, ...flags],
    cwd: ROOT,
    env: {
      ...{ NATS_URL: nats.url, NATS_USER: nats.worker.user, NATS_PASSWORD: nats.worker.password },
      STEP_COSTS: JSON.stringify(costs),
    },
    onLine: () => {},
  });
  const check = async () => ((await fetch(`${url}/health`)).ok ? true : null);
  await untilReady(child, { name: `worker ${id}`, check });
  return { url, [Symbol.asyncDispose]: () => child[Symbol.asyncDispose]() };
}

async function readMetrics(url: string): Promise<WorkerMetrics> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const sum = (name: string) =>
    text
      .split('\n')
      .filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`))
      .reduce((total, line) => total + Number(line.split(' ').at(-1)), 0);
  return {
    requests: sum('millrace_request_success_total'),
    busySeconds: sum('millrace_step_seconds_sum{part="run"}'),
    steps: sum('millrace_step_seconds_count{part="run"}'),
  };
}
