/** nats.conf on a real nats-server: who may connect, and what each user may say and hear. */
import { wsconnect } from '@nats-io/nats-core';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startNats, type NatsServer, type NatsUser } from '../../infra/dev/nats.ts';
import { subjects } from '../../shared/subjects.ts';

let server: NatsServer;
beforeAll(async () => {
  server = await startNats();
}, 360_000);
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

type Role = 'worker' | 'gateway';

function as({ user, password }: NatsUser): Promise<NatsConnection> {
  return connect({ servers: server.url, user, pass: password, reconnect: false });
}

/** Whether the server lets it through: a violation arrives before the answer to the flush. */
async function mayPublish(role: Role, subject: string): Promise<boolean> {
  const nats = await as(server[role]);
  const refusals: string[] = [];
  const watching = (async () => {
    for await (const status of nats.status()) if (status.type === 'error') refusals.push(String(status.error));
  })();
  nats.publish(subject, 'x');
  await nats.flush();
  await nats.close();
  await watching;
  for (const refusal of refusals) expect(refusal).toContain('Permissions Violation');
  return refusals.length === 0;
}

async function maySubscribe(role: Role, subject: string): Promise<boolean> {
  const nats = await as(server[role]);
  let refusal: Error | null = null;
  nats.subscribe(subject, {
    callback: (error) => {
      refusal = error;
    },
  });
  await nats.flush();
  await nats.close();
  if (refusal !== null) expect(String(refusal)).toContain('Permissions Violation');
  return refusal === null;
}

describe('connecting', () => {
  const refused = /authorization violation/i;

  test('needs a user and its password, by TCP and by WebSocket', async () => {
    const wrong = { user: 'worker', pass: server.gateway.password };
    for (const credentials of [{}, wrong, { user: 'admin', pass: 'admin' }]) {
      await expect(connect({ servers: server.url, reconnect: false, ...credentials })).rejects.toThrow(refused);
      await expect(wsconnect({ servers: server.wsUrl, reconnect: false, ...credentials })).rejects.toThrow(refused);
    }
  });

  test('the gateway comes in by WebSocket, with room for the largest job', async () => {
    const { user, password } = server.gateway;
    const nats = await wsconnect({ servers: server.wsUrl, user, pass: password, reconnect: false });
    expect(nats.info?.max_payload).toBe(8 * 1024 * 1024);
    await nats.close();
  });

  test('passwords are new in every run and not the same for both users', async () => {
    await using other = await startNats();
    const passwords = [server, other].flatMap(({ worker, gateway }) => [worker.password, gateway.password]);
    expect(new Set(passwords).size).toBe(4);
  });
});

const MODEL = '0123456789abcdef';
const ALLOWED = {
  worker: {
    subscribe: [subjects.submitAny(MODEL), subjects.submit(MODEL, 'w1'), subjects.control('w1'), subjects.controlAll],
    publish: [subjects.gateway('s0'), subjects.heartbeat('w1'), subjects.kv('w1', 's0'), '_INBOX_gateway.abc'],
    inbox: '_INBOX_worker.abc',
  },
  gateway: {
    subscribe: [subjects.gateway('s0'), subjects.heartbeats, subjects.kvOfAll('s0')],
    publish: [subjects.submitAny(MODEL), subjects.submit(MODEL, 'w1'), subjects.control('w1'), subjects.controlAll],
    inbox: '_INBOX_gateway.abc',
  },
} as const;
const OTHER = { worker: 'gateway', gateway: 'worker' } as const;

describe.each(['worker', 'gateway'] as const)('%s', (role) => {
  const { subscribe, publish, inbox } = ALLOWED[role];

  test.each([...subscribe, inbox])('hears %s', async (subject) => {
    expect(await maySubscribe(role, subject)).toBe(true);
  });

  test.each(publish)('says %s', async (subject) => {
    expect(await mayPublish(role, subject)).toBe(true);
  });

  // The other's inbox holds answers to its requests; wildcards would hear everything.
  test.each([
    ...ALLOWED[OTHER[role]].subscribe,
    ...[ALLOWED[OTHER[role]].inbox, '_INBOX.>', '>', 'mr.v1.>', 'mr.>', '*.v1.>', '$SYS.>', 'other'],
  ])('does not hear %s', async (subject) => {
    expect(await maySubscribe(role, subject)).toBe(false);
  });

  test.each([
    ...ALLOWED[OTHER[role]].publish,
    ...[inbox, '_INBOX.abc', '$SYS.REQ.SERVER.PING', '$JS.API.INFO', 'mr.v2.submit.x', 'other'],
  ])('does not say %s', async (subject) => {
    expect(await mayPublish(role, subject)).toBe(false);
  });
});
