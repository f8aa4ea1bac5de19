/** Test support: the whole path on real parts, with the tiny fixture model: nats-server, worker process, workerd. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startEdge, type EdgeOptions, type EdgeProcess } from '../../infra/dev/edge.ts';
import { startNats, type NatsServer } from '../../infra/dev/nats.ts';
import { startWorker, type WorkerProcess } from '../../infra/dev/worker.ts';

export const MODEL = 'tiny-llama';
const MAX_TRIES = 5;

export interface StackOptions {
  /** A Hugging Face folder; the tiny fixture without. */
  readonly model?: string;
  /** Of the worker. */
  readonly flags?: readonly string[];
  /** More of the worker's environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly edge?: Partial<EdgeOptions>;
}

export class Stack implements AsyncDisposable {
  readonly nats: NatsServer;
  worker: WorkerProcess;
  edge: EdgeProcess;
  /** What the worker printed: one JSON entry a line. */
  readonly workerLog: string[];
  readonly edgeLog: string[];
  readonly #folder: string;

  /** Resolves once the edge knows of the worker. */
  static async start({ model = `test/fixtures/${MODEL}`, edge: more, ...options }: StackOptions = {}): Promise<Stack> {
    const folder = mkdtempSync(join(tmpdir(), 'millrace-test-'));
    const [workerLog, edgeLog]: [string[], string[]] = [[], []];
    const nats = await startNats();
    const [worker, edge] = await Promise.all([
      startWorker({ nats, model, ...options, onLine: (line) => workerLog.push(line) }),
      startEdge({ nats, folder, onLine: (line) => edgeLog.push(line), ...more }),
    ]);
    const stack = new Stack({ nats, worker, edge, workerLog, edgeLog, folder });
    await stack.untilServed();
    return stack;
  }

  private constructor(parts: Pick<Stack, 'nats' | 'worker' | 'edge' | 'workerLog' | 'edgeLog'> & { folder: string }) {
    this.nats = parts.nats;
    this.worker = parts.worker;
    this.edge = parts.edge;
    this.workerLog = parts.workerLog;
    this.edgeLog = parts.edgeLog;
    this.#folder = parts.folder;
  }

  get headers(): Record<string, string> {
    return { authorization: `Bearer ${this.edge.apiKey}`, 'content-type': 'application/json' };
  }

  /** The edge has heard from at least one worker. */
  async untilServed(): Promise<void> {
    await until(async () => (await fetch(`${this.edge.url}/health`)).ok);
  }

  post(path: string, body: unknown, init: RequestInit = {}): Promise<Response> {
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    return this.#fetch(path, { method: 'POST', headers: this.headers, body: text, ...init });
  }

  get(path: string, init: RequestInit = {}): Promise<Response> {
    return this.#fetch(path, { headers: this.headers, ...init });
  }

  /** As clients do, asks again where a worker was too busy to answer: processes stall on a loaded machine. */
  async #fetch(path: string, init: RequestInit): Promise<Response> {
    for (let tries = 1; ; tries++) {
      const response = await fetch(`${this.edge.url}${path}`, init);
      if (response.status !== 429 || tries === MAX_TRIES) return response;
      await response.text();
      await sleep(Number(response.headers.get('retry-after') ?? 1) * 1000);
    }
  }

  /** Entries of one kind in the worker's log, from `start` on. */
  workerEvents<T extends object>(event: string, start = 0): T[] {
    const entries = this.workerLog.slice(start).map((line) => JSON.parse(line) as T & { readonly event: string });
    return entries.filter((entry) => entry.event === event);
  }

  /** Value of one of the worker's metrics. */
  async metric(name: string): Promise<number> {
    const text = await (await fetch(`${this.worker.url}/metrics`)).text();
    const line = text
      .split('\n')
      .find((each) => each.startsWith(`millrace_${name} `) || each.startsWith(`millrace_${name}{`));
    return Number(line?.split(' ').at(-1) ?? 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.edge[Symbol.asyncDispose]();
    await this.worker[Symbol.asyncDispose]();
    await this.nats[Symbol.asyncDispose]();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** Polls until `check` is true. */
export async function until(check: () => boolean | Promise<boolean>, timeoutMs = 20_000): Promise<void> {
  const end = Date.now() + timeoutMs;
  while (!(await check())) {
    if (Date.now() > end) throw new Error(`still not so after ${timeoutMs} ms: ${check}`);
    await sleep(20);
  }
}

export interface SseEvent {
  readonly id: number | null;
  readonly data: string;
}

/** Events of an SSE body as they come. */
export async function* sseEvents(response: Response): AsyncGenerator<SseEvent> {
  let buffer = '';
  const decoder = new TextDecoder();
  for await (const chunk of response.body ?? []) {
    buffer += decoder.decode(chunk, { stream: true });
    for (let at = buffer.indexOf('\n\n'); at >= 0; at = buffer.indexOf('\n\n')) {
      const lines = buffer.slice(0, at).split('\n');
      buffer = buffer.slice(at + 2);
      const data = lines.find((line) => line.startsWith('data: '))?.slice(6);
      const id = lines.find((line) => line.startsWith('id: '))?.slice(4);
      if (data !== undefined) yield { id: id === undefined ? null : Number(id), data };
    }
  }
}
