/** Free TCP ports on the loopback address. */
import { createServer } from 'node:net';

const MAX_PORT = 65_535;

function tryPort(port: number): Promise<number | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(null));
    server.listen(port, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(address !== null && typeof address === 'object' ? address.port : null));
    });
  });
}

/** `preferred` or the next free one within 100; without a preference whatever the system gives. */
export async function freePort(preferred = 0): Promise<number> {
  const last = Math.min(preferred + 99, MAX_PORT);
  for (let port = preferred; port <= last; port++) {
    const free = await tryPort(port);
    if (free !== null) return free;
  }
  throw new Error(`no free port from ${preferred} to ${last}`);
}
