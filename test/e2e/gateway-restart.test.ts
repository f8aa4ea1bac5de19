/** workerd dies and comes back: what goes on without its client is taken up by the new incarnation of its gateway. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runEdge, startEdge, type EdgeProcess } from '../../infra/dev/edge.ts';
import { startNats, type NatsServer } from '../../infra/dev/nats.ts';
import { DEFAULT_LEASE_MS } from '../../shared/protocol.ts';
import { deltaOf } from '../support/fleet-world.ts';
import { HandWorker } from '../support/hand-worker.ts';
import { until } from '../support/stack.ts';

const folder = mkdtempSync(join(tmpdir(), 'millrace-test-'));
let nats: NatsServer;
let edge: EdgeProcess;
let worker: HandWorker;
let beats: NodeJS.Timeout;

const onLine = () => {};
const models = async () => {
  const headers = { authorization: `Bearer ${edge.apiKey}` };
  return (await (await fetch(`${edge.url}/v1/models`, { headers })).json()) as { data?: { id: string }[] };
};
/** Its gateway knows the worker. */
const knowsWorker = () => until(async () => (await models()).data?.[0]?.id === 'm');

/** Returns its id once the worker runs it and the client reads it. */
async function openStream(onDisconnect: string): Promise<string | null> {
  const asked = worker.submits.length;
  const asking = fetch(`${edge.url}/v1/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${edge.apiKey}`, 'x-millrace-on-disconnect': onDisconnect },
    body: JSON.stringify({ model: 'm', prompt: 'a', stream: true }),
  });
  await until(() => worker.submits.length > asked);
  // The answer begins with it.
  await worker.send([{ ...deltaOf(0, 'a'), id: worker.submits[asked]?.id ?? '' }]);
  const response = await asking;
  expect(response.status).toBe(200);
  response.text().catch(() => {});
  return response.headers.get('x-millrace-stream-id');
}

/** A new gateway that nobody calls. What the worker hears from then on is from it. */
async function restartUncalled(): Promise<void> {
  await edge[Symbol.asyncDispose]();
  worker.controls.length = 0;
  edge = await runEdge(edge.state);
}

async function restartEdge(): Promise<void> {
  await restartUncalled();
  await knowsWorker();
}

/** Of a gateway that came after the one that submitted last. */
function heardOfNew(type: 'replay' | 'ack') {
  const before = worker.submits.at(-1)?.shardEpoch;
  return worker.controls.filter((each) => each.type === type && 'shardEpoch' in each && each.shardEpoch !== before);
}

beforeAll(async () => {
  nats = await startNats();
  worker = await HandWorker.connect(nats, 'hand');
  beats = setInterval(() => void worker.heartbeat(), 500);
  edge = await startEdge({ nats, folder, onLine });
  await knowsWorker();
}, 180_000);
afterAll(async () => {
  clearInterval(beats);
  await edge[Symbol.asyncDispose]();
  await worker[Symbol.asyncDispose]();
  await nats[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

test(
  'a stream that is to go on is replayed to it and acked, one that is not is left alone',
  { timeout: 120_000 },
  async () => {
    const ids = [await openStream('continue'), await openStream('cancel')];
    await restartEdge();
    await until(() => heardOfNew('replay').length > 0);
    await until(() => heardOfNew('ack').length > 1);
    expect(heardOfNew('replay').map((each) => 'id' in each && each.id)).toEqual([ids[0]]);
  },
);

test('what is to go on is taken up within its lease though nobody calls', { timeout: 120_000 }, async () => {
  const id = await openStream('continue');
  await restartUncalled();
  await until(() => heardOfNew('replay').some((each) => 'id' in each && each.id === id), DEFAULT_LEASE_MS);
  await until(() => heardOfNew('ack').length > 1);
});

test('what its worker has no more is asked for once, and wakes nobody', { timeout: 120_000 }, async () => {
  const id = await openStream('continue');
  const asked = () => worker.controls.some((each) => each.type === 'replay' && each.id === id);
  worker.found = false;
  await restartUncalled();
  await until(asked, DEFAULT_LEASE_MS);
  // It is seen to have ended when the gateway wakes next, a third of a lease later.
  await setTimeout(DEFAULT_LEASE_MS);
  worker.found = true;
  await restartUncalled();
  await setTimeout(DEFAULT_LEASE_MS / 2);
  expect(worker.controls).toEqual([]);
  await knowsWorker();
});

test('a worker that answers nothing costs the streams of others no time', { timeout: 120_000 }, async () => {
  const ids: (string | null)[] = [];
  while (ids.length < 15) ids.push(await openStream('continue'));
  worker.mutes = (type) => type === 'replay';
  await restartEdge();
  const asked = () => new Set(worker.controls.flatMap((each) => (each.type === 'replay' ? each.id : [])));
  // Each waits a second for its answer.
  await until(() => ids.every((id) => asked().has(id ?? '')), 10_000);
});
