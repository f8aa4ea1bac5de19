import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { busProblem } from '../../../gpu-worker/bus-problem.ts';
import { Child } from '../../../infra/dev/child.ts';
import { startNats, type NatsServer } from '../../../infra/dev/nats.ts';
import { startWorker } from '../../../infra/dev/worker.ts';
import { HandGateway } from '../../support/hand-gateway.ts';
import { slowSteps } from '../../support/slow-steps.ts';
import { MODEL, until } from '../../support/stack.ts';

const FOLDER = `test/fixtures/${MODEL}`;

let nats: NatsServer;
beforeAll(async () => {
  nats = await startNats();
}, 300_000);
afterAll(() => nats[Symbol.asyncDispose]());

const gatewayOf = (worker: string) => HandGateway.connect(nats, { worker, model: MODEL, shardEpoch: 'e1' });

/** A worker that nobody waits for. */
function launch(args: readonly string[], env: Readonly<Record<string, string>> = {}, model = FOLDER) {
  const lines: string[] = [];
  const child = new Child({
    command: process.execPath,
    args: ['gpu-worker/main.ts', '--model', model, '--http-port', '0', ...args],
    env: { NATS_URL: nats.url, NATS_USER: nats.worker.user, NATS_PASSWORD: nats.worker.password, ...env },
    onLine: (line) => lines.push(line),
  });
  return { child, lines };
}

/** A way to nats-server that lets nobody through until it is opened. */
async function gate(): Promise<AsyncDisposable & { readonly url: string; readonly open: () => void }> {
  const opened = Promise.withResolvers<void>();
  const target = new URL(nats.url);
  const server = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname);
    for (const socket of [client, upstream])
      socket.on('error', () => {}).on('close', () => [client, upstream].forEach((each) => each.destroy()));
    void opened.promise.then(() => client.pipe(upstream).pipe(client));
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    ...{ url: `nats://127.0.0.1:${port}`, open: () => opened.resolve() },
    [Symbol.asyncDispose]: async () => void server.close(),
  };
}

test('health: 503 while loading and draining, live all the time; metrics count; two signals end at once', async () => {
  // Steps so slow that it drains for longer than anybody looks, and a bus that it waits for while we look.
  await using bus = await gate();
  const { child, lines } = launch(['--worker-id', 'w1'], { ...slowSteps(100), NATS_URL: bus.url });
  await using _ = child;
  // It listens before it loads, and says where.
  await until(() => lines.length > 0, 20_000);
  const { http: url } = JSON.parse(lines[0] ?? '') as { readonly http: string };
  const status = async (path: string) => (await fetch(url + path)).status;
  const first = await fetch(`${url}/health`);
  expect([first.status, await first.json()]).toEqual([503, { status: 'loading' }]);
  expect(await status('/live')).toBe(200);
  bus.open();
  await until(async () => (await status('/health')) === 200, 20_000);
  expect(await status('/else')).toBe(404);
  expect((await fetch(url, { method: 'POST' })).status).toBe(405);

  await using gateway = await gatewayOf('w1');
  await gateway.submit('a', {}, { maxTokens: 4, ignoreEos: true });
  await until(() => gateway.ends('a').length > 0);
  expect(await gateway.submit('b', { model: 'else' })).toMatchObject({ code: 'model_not_found' });
  const metrics = await (await fetch(`${url}/metrics`)).text();
  for (const line of [
    'millrace_request_success_total{finished_reason="length"} 1',
    'millrace_prompt_tokens_total 3',
    'millrace_generation_tokens_total 4',
    'millrace_inter_token_latency_seconds_count 3',
    'millrace_time_to_first_token_seconds_count 1',
    'millrace_admission_rejections_total{code="model_not_found"} 1',
    'millrace_num_requests_running 0',
  ]) {
    expect(metrics.split('\n')).toContain(line);
  }

  // 25 s of work at least.
  await Promise.all(
    Array.from({ length: 64 }, (_, i) => gateway.submit(`d${i}`, {}, { maxTokens: 250, ignoreEos: true })),
  );
  child.kill('SIGTERM');
  await until(async () => (await status('/health')) === 503);
  expect(await status('/live')).toBe(200);
  child.kill('SIGTERM');
  expect(await child.exited).toBe('code 1');
}, 120_000);

test('SIGTERM drains: what runs ends well, the process exits 0', async () => {
  await using worker = await startWorker({ nats, model: FOLDER, flags: ['--worker-id', 'w2'] });
  await using gateway = await gatewayOf('w2');
  const ids = Array.from({ length: 16 }, (_, i) => `r${i}`);
  await Promise.all(ids.map((id) => gateway.submit(id, {}, { maxTokens: 200, ignoreEos: true })));
  worker.child.kill('SIGTERM');
  expect(await worker.child.exited).toBe('code 0');
  for (const id of ids) {
    expect(gateway.output(id)).toHaveLength(200);
    expect(gateway.ends(id)).toMatchObject([{ type: 'stream-end', usage: { completionTokens: 200 } }]);
  }
}, 60_000);

test('npm run worker passes SIGTERM on', async () => {
  const lines: string[] = [];
  await using child = new Child({
    ...{ command: 'npm', args: ['run', 'worker', '--', '--model', FOLDER, '--http-port', '0'] },
    env: { NATS_URL: nats.url, NATS_USER: nats.worker.user, NATS_PASSWORD: nats.worker.password },
    onLine: (line) => lines.push(line),
  });
  const has = (event: string) => lines.some((line) => line.includes(`"event":"${event}"`));
  await until(() => has('serving'), 40_000);
  // Not to its group, as a terminal does.
  child.process.kill('SIGTERM');
  await child.exited;
  expect(has('stopped')).toBe(true);
}, 60_000);

test('a drain order over the bus ends the process like SIGTERM', async () => {
  await using worker = await startWorker({ nats, model: FOLDER, flags: ['--worker-id', 'w3'] });
  await using gateway = await gatewayOf('w3');
  expect(await gateway.control({ type: 'drain' })).toEqual({ ok: true });
  expect(await worker.child.exited).toBe('code 0');
});

test('a step that does not end: every live request gets an error, the process ends', async () => {
  const flags = ['--worker-id', 'w4', '--step-timeout-ms', '100', '--mode', 'throughput'];
  await using worker = await startWorker({ nats, model: FOLDER, flags, env: slowSteps(600_000) });
  await using gateway = await gatewayOf('w4');
  const ids = Array.from({ length: 50 }, (_, i) => `h${i}`);
  const submits = ids.map((id) => gateway.submit(id, {}, { maxTokens: 2, ignoreEos: true }));
  // The first step never ends; some may come when the worker has given up already.
  const replies = await Promise.allSettled(submits);
  expect(await worker.child.exited).toBe('SIGKILL');
  const admitted = ids.filter((_, i) => {
    const reply = replies[i];
    return reply?.status === 'fulfilled' && reply.value['type'] === 'admitted';
  });
  expect(admitted.length).toBeGreaterThan(0);
  for (const id of admitted) expect(gateway.ends(id)).toHaveLength(1);
  expect(admitted.flatMap((id) => gateway.ends(id))).toContainEqual(
    expect.objectContaining({ type: 'stream-error', code: 'server_error' }),
  );
}, 60_000);

test('a step that does not end ends the process also while it drains', async () => {
  const flags = ['--worker-id', 'w5', '--step-timeout-ms', '8000', '--drain-timeout-ms', '0'];
  const { child, lines } = launch(flags, slowSteps(600_000));
  await using _ = child;
  await until(() => lines.some((line) => line.includes('"serving"')), 60_000);
  await using gateway = await gatewayOf('w5');
  expect(await gateway.submit('a', {}, { maxTokens: 2, ignoreEos: true })).toMatchObject({ type: 'admitted' });
  child.kill('SIGTERM');
  expect(await child.exited).toBe('SIGKILL');
  expect(gateway.ends('a')).toHaveLength(1);
  expect(lines.at(-1)).toMatch(/"event":"fatal","message":"a step has been running/);
}, 120_000);

const NO_SERVER =
  /could not start: the nats-server at nats:\/\/127\.0\.0\.1:1 cannot be reached .*correct --nats-url \(NATS_URL\)/;

describe('a worker that cannot start says why and ends', () => {
  test.each([
    ['a bad flag', ['--threads', '0'], {}, 'code 2', /--threads/],
    ['an address of others', ['--http-host', '192.0.2.1'], {}, 'code 1', /192\.0\.2\.1.*correct --http-host/],
    ['a wrong password', [], { NATS_PASSWORD: 'wrong' }, 'code 1', /refuses user "worker".*correct .*NATS_PASSWORD/],
    ['no nats-server', [], { NATS_URL: 'nats://u:secret@127.0.0.1:1' }, 'code 1', NO_SERVER],
  ])('%s', async (_, args, env, exit, message) => {
    const { child, lines } = launch(args, env);
    expect(await child.exited).toBe(exit);
    expect(lines.join('\n')).toMatch(message);
  });

  test('a user who may not work', async () => {
    const { user, password } = nats.gateway;
    const { child, lines } = launch([], { NATS_USER: user, NATS_PASSWORD: password });
    expect(await child.exited).toBe('code 1');
    expect(lines.join('\n')).toMatch(/does not let user \W*gateway\W* work: set NATS_USER and NATS_PASSWORD/);
  });

  test('no user', () => {
    const settings = { url: nats.url, user: undefined, password: undefined };
    expect(busProblem('Authorization Violation', settings)).toMatch(
      /known users only: set NATS_USER and NATS_PASSWORD/,
    );
  });

  test('no such folder', async () => {
    const { child, lines } = launch([], {}, 'no/such/folder');
    expect(await child.exited).toBe('code 2');
    expect(lines.join('\n')).toMatch(/--model .*config\.json/);
  });

  test('--help lists every flag and exits 0', async () => {
    const { child, lines } = launch(['--help']);
    expect(await child.exited).toBe('code 0');
    expect(lines.join('\n')).toMatch(/--step-timeout-ms/);
  });
});
