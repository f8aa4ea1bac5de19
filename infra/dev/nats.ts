/** Starts a nats-server of the dev stack with our configuration and fresh passwords. */
import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { fileURLToPath } from 'node:url';
import { findNatsServer } from '../nats/find.ts';
import { Child, untilReady } from './child.ts';
import { freePort } from './ports.ts';

const CONFIG = fileURLToPath(new URL('../nats/nats.conf', import.meta.url));

export interface NatsUser {
  readonly user: string;
  readonly password: string;
}

export interface NatsServer extends AsyncDisposable {
  readonly child: Child;
  readonly url: string;
  readonly wsUrl: string;
  readonly worker: NatsUser;
  readonly gateway: NatsUser;
}

export interface NatsOptions {
  readonly onLine?: (line: string) => void;
  /** What the search for a server does, when that takes long. */
  readonly onProgress?: (line: string) => void;
  /** As soon as the process exists, before it is ready. */
  readonly onChild?: (child: Child) => void;
  /** To come back on the same ports and passwords after a stop. */
  readonly like?: NatsServer;
}

/** A port that was free may be somebody else's by the time that the server listens. */
const ATTEMPTS = 3;

export async function startNats(options: NatsOptions = {}): Promise<NatsServer> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await start(options);
    } catch (error) {
      const taken = options.like === undefined && String(error).includes('address already in use');
      if (!taken || attempt === ATTEMPTS) throw error;
    }
  }
}

async function start({ onLine = () => {}, onProgress, onChild, like }: NatsOptions): Promise<NatsServer> {
  const binary = await findNatsServer(onProgress);
  const port = like === undefined ? await freePort() : Number(new URL(like.url).port);
  const wsPort = like === undefined ? await freePort() : Number(new URL(like.wsUrl).port);
  const worker = like?.worker ?? { user: 'worker', password: secret() };
  const gateway = like?.gateway ?? { user: 'gateway', password: secret() };
  const env = {
    NATS_LISTEN: `127.0.0.1:${port}`,
    NATS_WS_LISTEN: `127.0.0.1:${wsPort}`,
    NATS_WORKER_PASSWORD: worker.password,
    NATS_GATEWAY_PASSWORD: gateway.password,
  };
  const child = new Child({ command: binary, args: ['-c', CONFIG], env, onLine });
  onChild?.(child);
  const check = async () => ((await accepts(port)) && (await accepts(wsPort)) ? true : null);
  await untilReady(child, { name: 'nats-server', check, timeoutMs: 30_000 });
  return {
    ...{ child, worker, gateway, url: `nats://127.0.0.1:${port}`, wsUrl: `ws://127.0.0.1:${wsPort}` },
    [Symbol.asyncDispose]: () => child[Symbol.asyncDispose](),
  };
}

/** Starts with a letter: the configuration would read digits and a dot as a number. */
function secret(): string {
  return `p${randomBytes(18).toString('hex')}`;
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
