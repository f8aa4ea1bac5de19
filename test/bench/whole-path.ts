/** Starts what a request passes: nats-server, a worker process and the edge on workerd, until the edge sees the worker. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { untilReady } from '../../infra/dev/child.ts';
import { startEdge } from '../../infra/dev/edge.ts';
import { startNats } from '../../infra/dev/nats.ts';
import { startWorker } from '../../infra/dev/worker.ts';
import type { Endpoint } from './load.ts';

export interface WholePathOptions {
  readonly folder: string;
  /** The name it is served by. */
  readonly model: string;
  /** More flags of the worker. */
  readonly flags: readonly string[];
  readonly progress: (text: string) => void;
}

export interface WholePath extends AsyncDisposable {
  readonly endpoint: Endpoint;
}

export async function startWholePath({ folder, model, flags, progress }: WholePathOptions): Promise<WholePath> {
  await using stack = new AsyncDisposableStack();
  const state = mkdtempSync(join(tmpdir(), 'millrace-bench-'));
  const removeState = () => rmSync(state, { recursive: true, force: true });
  // A signal ends this process without disposing; the children end with it.
  process.once('exit', removeState);
  stack.defer(() => {
    removeState();
    process.off('exit', removeState);
  });
  const nats = stack.use(await startNats({ onProgress: progress }));
  const starting = [
    startWorker({ nats, model: folder, flags: [...flags, '--served-model-name', model] }),
    startEdge({ nats, folder: state }),
  ] as const;
  for (const part of await Promise.allSettled(starting)) {
    if (part.status === 'rejected') throw part.reason;
    stack.use(part.value);
  }
  const edge = await starting[1];
  const headers = { authorization: `Bearer ${edge.apiKey}` };
  const check = async () => {
    const response = await fetch(`${edge.url}/v1/models`, { headers });
    const { data } = (await response.json()) as { readonly data: readonly { readonly id: string }[] };
    return data.some(({ id }) => id === model) ? true : null;
  };
  await untilReady(edge.child, { name: 'the way from edge to worker', check, timeoutMs: 15_000 });
  const parts = stack.move();
  return {
    endpoint: { url: edge.url, apiKey: edge.apiKey, model },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  };
}
