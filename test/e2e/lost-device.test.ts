/** A device that is lost in mid-run: a real worker process whose runner fails for good, behind real NATS and a real edge. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import OpenAI from 'openai';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Child } from '../../infra/dev/child.ts';
import { startNats, type NatsServer } from '../../infra/dev/nats.ts';
import { startWorker } from '../../infra/dev/worker.ts';
import { HandGateway } from '../support/hand-gateway.ts';
import { LOSS, losingAt } from '../support/lose-device.ts';
import { MODEL, Stack, until } from '../support/stack.ts';

const FOLDER = `test/fixtures/${MODEL}`;

let folder = '';
/** Made by a test, a hanging device is lost. */
const lossFile = (name: string) => join(folder, name);

interface Entry {
  readonly event: string;
  readonly message?: string;
  readonly code?: string;
}

test('every request ends in an error it may be tried again after, the worker says why in one line and exits with 1', async () => {
  await using nats: NatsServer = await startNats();
  const lines: string[] = [];
  const flags = ['--worker-id', 'w1', '--max-num-seqs', '4'];
  const onLine = (line: string) => lines.push(line);
  const env = losingAt(20, lossFile('first'));
  await using worker = await startWorker({ nats, model: FOLDER, flags, env, onLine });
  await using gateway = await HandGateway.connect(nats, { worker: 'w1', model: MODEL, shardEpoch: 'e1' });
  // Four run, the others wait.
  const ids = Array.from({ length: 12 }, (_, i) => `r${i}`);
  const params = { maxTokens: 200, ignoreEos: true };
  const replies = await Promise.all(ids.map((id) => gateway.submit(id, { speculation: 'off' }, params)));
  expect(replies.map(({ type }) => type)).toEqual(ids.map(() => 'admitted'));
  await until(() => gateway.output('r0').length > 0);
  writeFileSync(lossFile('first'), '');
  expect(await worker.child.exited).toBe('code 1');
  await until(() => ids.every((id) => gateway.ends(id).length > 0));
  const codes = ids.map((id) => gateway.ends(id).map((end) => (end.type === 'stream-error' ? end.code : end.type)));
  for (const code of codes) expect([['worker_lost'], ['server_error']]).toContainEqual(code);
  expect(codes.filter(([code]) => code === 'worker_lost').length).toBeGreaterThanOrEqual(1);
  const fatal = lines.map((line) => JSON.parse(line) as Entry).filter(({ event }) => event === 'fatal');
  expect(fatal).toMatchObject([{ message: `the device is lost: ${LOSS}` }]);
  // Nothing takes its submits any more.
  await expect(gateway.submit('late')).rejects.toThrow(/no responders/i);
}, 120_000);

test('millrace generate says why in one line, keeps what is done, and exits with 1', async () => {
  const output = join(folder, 'out.jsonl');
  const cli = ['gpu-worker/cli/millrace.mjs', 'generate', '--device', 'cpu', '--model', FOLDER, '--max-num-seqs', '4'];
  const work = ['--prompt', 'abc', '--repeat', '40', '--max-tokens', '8', '--output', output, '--progress', 'false'];
  const lines: string[] = [];
  const env = { ...losingAt(20), ORT_DISABLE_TELEMETRY: '1' };
  const args = [...cli, ...work];
  const child = new Child({ command: process.execPath, args, env, onLine: (line) => lines.push(line) });
  expect(await child.exited).toBe('code 1');
  expect(lines.filter((line) => line.includes('device is lost'))).toEqual([
    `The engine failed: the device is lost: ${LOSS}. Load the model again.`,
  ]);
  // What was done stays, what ran has its error.
  const written = readFileSync(output, 'utf8').trim().split('\n');
  const entries = written.map((line) => JSON.parse(line) as { outputs?: object; error?: { code: string } });
  const done = entries.filter(({ outputs }) => outputs !== undefined);
  expect(done.length).toBeGreaterThan(0);
  expect(entries.length).toBeLessThan(40);
  for (const { outputs, error } of entries) if (outputs === undefined) expect(error?.code).toBe('worker_lost');
}, 120_000);

let stack: Stack;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lost-device-'));
  stack = await Stack.start({ flags: ['--worker-id', 'w0', '--max-num-seqs', '8'] });
}, 180_000);
afterAll(async () => {
  await stack[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

test('behind the edge: streams on the lost worker end in an error event, tried again all are answered by the other', async () => {
  const { nats } = stack;
  const lines: string[] = [];
  const flags = ['--worker-id', 'w1', '--max-num-seqs', '8'];
  const onLine = (line: string) => lines.push(line);
  const env = losingAt(60, lossFile('behind the edge'));
  await using doomed = await startWorker({ nats, model: FOLDER, flags, env, onLine });
  const admitted = () => lines.filter((line) => line.includes('"admitted"')).length;
  const client = new OpenAI({ apiKey: stack.edge.apiKey, baseURL: `${stack.edge.url}/v1` });
  const ask = async (i: number, { maxTokens = 120, maxRetries = 4 } = {}): Promise<string> => {
    // All different: none has reason to go where another went.
    const messages = [{ role: 'user' as const, content: `${i} `.repeat(20) }];
    const body = {
      model: MODEL,
      messages,
      max_tokens: maxTokens,
      temperature: 0,
      stream: true as const,
      ignore_eos: true,
      speculation: 'off',
    };
    let finish = 'none';
    for await (const chunk of await client.chat.completions.create(body, { maxRetries })) {
      finish = chunk.choices[0]?.finish_reason ?? finish;
    }
    return finish;
  };
  // Gateways know of it by its heartbeat; a step or two each, so that its device lasts.
  const warmUp = () => Promise.all([100, 101, 102].map((i) => ask(i, { maxTokens: 1 })));
  await until(async () => (await warmUp()) && admitted() > 0, 30_000);
  const before = admitted();
  const asked = Promise.allSettled(Array.from({ length: 24 }, (_, i) => ask(i, { maxRetries: 0 })));
  // More steps than it has: what it took is under way.
  await until(() => admitted() > before);
  writeFileSync(lossFile('behind the edge'), '');
  const outcomes = await asked;
  expect(await doomed.child.exited).toBe('code 1');
  const failed = outcomes.filter(({ status }) => status === 'rejected');
  // One that was admitted just before the end, its answer still under way, may have moved on by itself.
  expect(failed.length).toBeGreaterThan(0);
  for (const outcome of outcomes) {
    if (outcome.status === 'fulfilled') expect(outcome.value).toBe('length');
    else expect(String(outcome.reason)).toMatch(/lost|failed|too busy|shutting down/);
  }
  // Only the other worker is left, and takes them all.
  expect(await ask(99)).toBe('length');
  expect(await Promise.all(failed.map((_, i) => ask(i)))).toEqual(failed.map(() => 'length'));
}, 120_000);
