/** Starts the edge Worker on workerd with a local database and seeded keys. */
import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { CompressionOptions } from '../../edge/compress/compress.ts';
import { mintKey } from '../../edge/key.ts';
import { Child, untilReady } from './child.ts';
import type { NatsServer } from './nats.ts';
import { freePort } from './ports.ts';
import type { WorkerdConfig } from './workerd.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** Run by the Node that runs us: an older one on the PATH is refused by wrangler. */
const WRANGLER = { command: process.execPath, program: join(ROOT, 'node_modules/wrangler/bin/wrangler.js') };
/** wrangler looks up hosts of its maker; the dev stack needs none of them. */
const QUIET = { WRANGLER_SEND_METRICS: 'false', CLOUDFLARE_CF_FETCH_ENABLED: 'false', CI: 'true' };

/** Of the key that the stack prints. */
export const DEV_TENANT = 'dev';

export interface EdgeState {
  /** Holds the local database and Durable Objects; survives restarts of the edge. */
  readonly folder: string;
  /** What infra/dev/workerd.ts reads. */
  readonly configFile: string;
  readonly apiKey: string;
  readonly port: number;
}

/** A row of the table of keys. */
export interface SeededKey {
  readonly publicId: string;
  readonly tenant: string;
  readonly secretHash: string;
  readonly secondSecretHash?: string;
  readonly models?: readonly string[];
  /** By default lossless. */
  readonly compression?: CompressionOptions;
  /** Unix milliseconds. */
  readonly expiresAt?: number;
  readonly disabled?: boolean;
}

export interface EdgeOptions {
  readonly nats: Pick<NatsServer, 'wsUrl' | 'gateway'>;
  /** For local state. Made if missing. */
  readonly folder: string;
  readonly preferredPort?: number;
  /** More bindings, e.g. limits. */
  readonly vars?: Readonly<Record<string, string>>;
  /** More keys than the one of DEV_TENANT. */
  readonly keys?: (pepper: string) => Promise<readonly SeededKey[]>;
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

/** Bundles the Worker, migrates a local database, then starts workerd with a key of DEV_TENANT. */
export async function startEdge(options: EdgeOptions): Promise<EdgeProcess> {
  return runEdge(await prepareEdge(options), options.onLine, options.onChild);
}

async function prepareEdge(options: EdgeOptions): Promise<EdgeState> {
  const { nats, folder, preferredPort, vars, keys = async () => [], onLine = () => {} } = options;
  mkdirSync(folder, { recursive: true });
  const bundle = join(folder, 'bundle');
  await Promise.all([
    wrangler(['deploy', '--dry-run', '--outdir', bundle], onLine),
    wrangler(['d1', 'migrations', 'apply', 'DB', '--local', '--persist-to', folder], onLine),
  ]);
  const pepper = randomBytes(32).toString('hex');
  const minted = await mintKey(pepper);
  const port = await freePort(preferredPort);
  const config: WorkerdConfig = {
    ...{ config: join(ROOT, 'wrangler.toml'), bundle, state: folder, port },
    bindings: {
      NATS_WS_URL: nats.wsUrl,
      NATS_USER: nats.gateway.user,
      NATS_PASSWORD: nats.gateway.password,
      KEY_PEPPER: pepper,
      ...vars,
    },
    seed: [{ ...minted, tenant: DEV_TENANT }, ...(await keys(pepper))].map(seedKey),
  };
  const configFile = join(folder, 'edge.json');
  writeFileSync(configFile, JSON.stringify(config), { mode: 0o600 });
  return { folder, configFile, apiKey: minted.key, port };
}

function seedKey(key: SeededKey): WorkerdConfig['seed'][number] {
  const { secondSecretHash = null, expiresAt = null, disabled = false, compression = null } = key;
  const row = {
    ...{ public_id: key.publicId, tenant: key.tenant, secret_hash: key.secretHash },
    ...{ second_secret_hash: secondSecretHash, expires_at: expiresAt, disabled: disabled ? 1 : 0 },
    models: key.models === undefined ? null : JSON.stringify(key.models),
    compression_mode: compression?.mode ?? null,
    compression_rate: compression?.rate ?? null,
    created_at: Date.now(),
  };
  const names = Object.keys(row);
  return {
    sql: `INSERT OR IGNORE INTO api_keys (${names.join(', ')}) VALUES (${names.map(() => '?').join(', ')})`,
    values: Object.values(row),
  };
}

/** Starts workerd on prepared state; once more after a kill, it finds its database and objects again. */
export async function runEdge(
  state: EdgeState,
  onLine: (line: string) => void = () => {},
  onChild?: (child: Child) => void,
): Promise<EdgeProcess> {
  const child = new Child({
    command: process.execPath,
    args: ['infra/dev/workerd.ts', state.configFile],
    cwd: ROOT,
    // A killed workerd leaves its files there.
    env: { ...QUIET, TMPDIR: state.folder },
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
