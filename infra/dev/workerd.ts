/** The edge's process: workerd with a bundled Worker and local state behind a TCP front, as one JSON file says; knows no NATS. */
import { readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { convertV4MiniflareOptions, Miniflare } from 'miniflare';
import { unstable_getMiniflareWorkerOptions } from 'wrangler';

export interface WorkerdConfig {
  /** wrangler.toml */
  readonly config: string;
  /** Folder of the bundled Worker, `index.js`. */
  readonly bundle: string;
  /** Of the database and the Durable Objects, as wrangler lays it out. */
  readonly state: string;
  readonly port: number;
  /** Over those of `config`. */
  readonly bindings: Readonly<Record<string, string>>;
  /** Run at every start, so each changes nothing the second time. */
  readonly seed: readonly { readonly sql: string; readonly values: readonly (string | number | null)[] }[];
}

/**
 * workerd takes a closed socket (FIN) for one that may still read and goes on until it first writes to it; only a reset
 * tells it before the first byte that the client left. In production Cloudflare's own front passes that on.
 */
function startFront(port: number, target: number): Promise<void> {
  const server = createServer({ noDelay: true }, (client) => {
    const upstream = connect({ port: target, host: '127.0.0.1', noDelay: true });
    client.pipe(upstream, { end: false });
    upstream.pipe(client);
    upstream.on('error', () => client.destroySoon());
    client.on('error', () => {});
    client.on('end', () => upstream.resetAndDestroy());
    client.on('close', () => upstream.resetAndDestroy());
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
}

async function main(file: string): Promise<void> {
  const { config, bundle, state, port, bindings, seed } = JSON.parse(readFileSync(file, 'utf8')) as WorkerdConfig;
  const { workerOptions } = unstable_getMiniflareWorkerOptions(config);
  const miniflare = new Miniflare(
    convertV4MiniflareOptions({
      ...workerOptions,
      bindings: { ...(workerOptions.bindings as object), ...bindings },
      ...{ modulesRoot: bundle, modules: [{ type: 'ESModule', path: join(bundle, 'index.js') }] },
      ...{ host: '127.0.0.1', port: 0, resourcePersistencePath: join(state, 'v3') },
      // Nothing here may ask a host of its maker.
      ...{ cf: false, telemetry: { enabled: false }, logRequests: false },
    }),
  );
  const url = await miniflare.ready;
  const database = await miniflare.getD1Database('DB');
  await database.batch(seed.map(({ sql, values }) => database.prepare(sql).bind(...values)));
  await startFront(port, Number(url.port));
  // In place of miniflare's own, which ends as if killed.
  process.removeAllListeners('SIGTERM');
  process.once('SIGTERM', () => void miniflare.dispose().finally(() => process.exit(0)));
}

// However else this process ends, miniflare's hooks end workerd with it.
await main(process.argv[2] ?? '');
