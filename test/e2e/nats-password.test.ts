/** A nats-server that comes back with a wrong password for gateways, and then with the right one: the edge on workerd finds its workers again. */
import { expect, test } from 'vitest';
import { startNats } from '../../infra/dev/nats.ts';
import { MODEL, Stack, until } from '../support/stack.ts';

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
