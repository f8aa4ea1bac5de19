/** The worker's own HTTP server: /live, /health, /metrics. Knows no request. */
import { createServer } from 'node:http';

export interface HealthOptions {
  readonly host: string;
  readonly port: number;
  /** Null when ready for work; otherwise why not. */
  readonly unready: () => string | null;
  readonly metrics: () => Promise<string>;
}

/** Listens until the process ends; resolves with the address. */
export async function startHealth({ host, port, unready, metrics }: HealthOptions): Promise<string> {
  const server = createServer((request, response) => {
    const send = (status: number, type: string, body: string) => {
      response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' }).end(body);
    };
    const json = (status: number, body: object) => send(status, 'application/json', JSON.stringify(body));
    if (request.method !== 'GET') return json(405, { error: 'only GET' });
    if (request.url === '/live') return json(200, { status: 'live' });
    if (request.url === '/metrics') {
      const ok = (text: string) => send(200, 'text/plain; version=0.0.4', text);
      return void metrics().then(ok, () => json(500, { error: 'the metrics could not be written' }));
    }
    if (request.url !== '/health') return json(404, { error: 'there are /live, /health and /metrics' });
    const reason = unready();
    json(reason === null ? 200 : 503, { status: reason ?? 'ready' });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
  const address = server.address();
  return `http://${host}:${address !== null && typeof address === 'object' ? address.port : port}`;
}
