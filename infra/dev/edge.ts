/** Starts the edge Worker on workerd (wrangler dev) with a local database and one seeded key. */
import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { mintKey } from '../../edge/key.ts';
import { Child, untilReady } from './child.ts';
import type { NatsServer } from './nats.ts';
import { freePort } from './ports.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** Run by the Node that runs us: an older one on the PATH is refused by wrangler. */
const WRANGLER = { command: process.execPath, program: join(ROOT, 'node_modules/wrangler/bin/wrangler.js') };
/** wrangler looks up hosts of its maker; the dev stack needs none of them. */
const QUIET = { WRANGLER_SEND_METRICS: 'false', CLOUDFLARE_CF_FETCH_ENABLED: 'false', CI: 'true' };

export interface EdgeState {
  /** Holds the local database and Durable Objects; survives restarts of the edge. */
  readonly folder: string;
  readonly envFile: string;
  readonly apiKey: string;
  readonly port: number;
}

export interface EdgeOptions {
  readonly nats: Pick<NatsServer, 'wsUrl' | 'gateway'>;
  /** For local state. Made if missing. */
  readonly folder: string;
  readonly preferredPort?: number;
  /** More bindings, e.g. limits. */
  readonly vars?: Readonly<Record<string, string>>;
  readonly onLine?: (line: string) => void;
  /** As soon as the process exists, before it is ready. */
  readonly onChild?: (child: Child) => void;
}

export interface EdgeProcess extends AsyncDisposable {
  readonly child: Child;
  readonly url: string;
  readonly apiKey: string;
  readonly state: EdgeState;
}

/** Migrates a local database, seeds a key of tenant `dev`, then starts workerd. */
export async function startEdge(options: EdgeOptions): Promise<EdgeProcess> {
  return runEdge(await prepareEdge(options), options.onLine, options.onChild);
}

async function prepareEdge({ nats, folder, preferredPort, vars, onLine = () => {} }: EdgeOptions): Promise<EdgeState> {
  mkdirSync(folder, { recursive: true });
  const pepper = randomBytes(32).toString('hex');
  const minted = await mintKey(pepper);
  const envFile = join(folder, 'edge.env');
  const bindings = {
    NATS_WS_URL: nats.wsUrl,
    NATS_USER: nats.gateway.user,
    NATS_PASSWORD: nats.gateway.password,
    KEY_PEPPER: pepper,
    ...vars,
  };
  const lines = Object.entries(bindings).map(([name, value]) => `${name}="${value}"`);
  writeFileSync(envFile, `${lines.join('\n')}\n`, { mode: 0o600 });
  const local = ['--local', '--persist-to', folder];
  await wrangler(['d1', 'migrations', 'apply', 'DB', ...local], onLine);
  const seed = join(folder, 'seed.sql');
  writeFileSync(
    seed,
    `INSERT INTO api_keys (public_id, tenant, secret_hash, created_at) VALUES ('${minted.publicId}', 'dev', '${minted.secretHash}', ${Date.now()});`,
  );
  await wrangler(['d1', 'execute', 'DB', ...local, '--file', seed], onLine);
  return { folder, envFile, apiKey: minted.key, port: await freePort(preferredPort) };
}

/** Starts workerd on prepared state; once more after a kill, it finds its database and objects again. */
export async function runEdge(
  state: EdgeState,
  onLine: (line: string) => void = () => {},
  onChild?: (child: Child) => void,
): Promise<EdgeProcess> {
  const inspector = await freePort();
  const child = new Child({
    command: WRANGLER.command,
    args: [
      ...[
        WRANGLER.program,
        'dev',
        '--ip',
        '127.0.0.1',
        '--port',
        String(state.port),
        '--inspector-port',
        String(inspector),
      ],
      ...['--persist-to', state.folder, '--env-file', state.envFile, '--show-interactive-dev-session=false'],
    ],
    cwd: ROOT,
    env: QUIET,
    onLine,
  });
  onChild?.(child);
  const url = `http://127.0.0.1:${state.port}`;
  await untilReady(child, { name: 'the edge', check: async () => ((await fetch(`${url}/live`)).ok ? true : null) });
  return { child, url, apiKey: state.apiKey, state, [Symbol.asyncDispose]: () => child[Symbol.asyncDispose]() };
}

async function wrangler(args: readonly string[], onLine: (line: string) => void): Promise<void> {
  const child = new Child({
    command: WRANGLER.command,
    args: [WRANGLER.program, ...args],
    cwd: ROOT,
    env: QUIET,
    onLine: () => {},
  });
  const how = await child.exited;
  if (how === 'code 0') return;
  onLine(child.lastLines);
  throw new Error(`wrangler ${args.slice(0, 3).join(' ')} ended with ${how}`);
}
