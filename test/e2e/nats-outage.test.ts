/** nats-server goes away and comes back, once with a wrong password for gateways: the edge on workerd loses no stream and finds its workers again. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { startNats } from '../../infra/dev/nats.ts';
import { slowSteps } from '../support/slow-steps.ts';
import { MODEL, sseEvents, Stack, until } from '../support/stack.ts';

/** Longer than a gateway waits for a worker that is silent. */
const OUTAGE_MS = 7_000;

/** The server ends, and another takes its place. */
async function restart({ nats }: Stack): Promise<AsyncDisposable> {
  await nats[Symbol.asyncDispose]();
  await sleep(OUTAGE_MS);
  return startNats({ like: nats });
}

/** Connections stay, and nothing comes. */
async function stall({ nats }: Stack): Promise<null> {
  nats.child.kill('SIGSTOP');
  await sleep(OUTAGE_MS);
  nats.child.kill('SIGCONT');
  return null;
}

const outages = [
  ['is gone', restart],
  ['stalls', stall],
] as const;
test.each(outages)('streams go on after nats-server %s for a while', { timeout: 180_000 }, async (_, outage) => {
  // The lease outlasts every stall.
  await using stack = await Stack.start({ flags: ['--lease-ms', '120000'], env: slowSteps(50) });
  const body = { model: MODEL, prompt: 'a', max_tokens: 240, ignore_eos: true, speculation: 'off', stream: true };
  const response = await stack.post('/v1/completions', body);
  expect(response.status).toBe(200);
  await using _again = await outage(stack);
  const events: string[] = [];
  for await (const { data } of sseEvents(response)) events.push(data);
  expect(events.at(-1)).toBe('[DONE]');
  expect(JSON.parse(events.at(-2) ?? '')).toMatchObject({ choices: [{ finish_reason: 'length' }] });
});

test('a password that is refused again and again is tried until it is taken', { timeout: 180_000 }, async () => {
  await using stack = await Stack.start();
  const { nats } = stack;
  await nats[Symbol.asyncDispose]();
  const gateway = { ...nats.gateway, password: `${nats.gateway.password}x` };
  let refusals = 0;
  const onLine = (line: string) => {
    if (line.includes('authentication error - User "gateway"')) refusals++;
  };
  const wrong = await startNats({ like: { ...nats, gateway }, onLine });
  // The second one ends a connection for good, unless told otherwise.
  await until(() => refusals >= 3, 60_000);
  await wrong[Symbol.asyncDispose]();
  await using _right = await startNats({ like: nats });
  const ask = async () => {
    const response = await stack.post('/v1/completions', { model: MODEL, prompt: 'a', max_tokens: 1 });
    await response.text();
    return response.status;
  };
  await expect.poll(ask, { timeout: 60_000 }).toBe(200);
});
