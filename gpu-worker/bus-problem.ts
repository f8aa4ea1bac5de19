/** Why the bus cannot be used, in words that name the settings to correct. Knows no bus. */
import type { Config } from './config.ts';

type BusSettings = Config['nats'];

/** Of a start that failed. */
export function busProblem(reason: string, settings: BusSettings): string {
  const unreachable = `${serverOf(settings)} cannot be reached (${reason}): start one, or correct --nats-url (NATS_URL)`;
  return busRefusal(reason, settings) ?? unreachable;
}

/** Null: it is not the user that the server refuses. */
export function busRefusal(reason: string, settings: BusSettings): string | null {
  const server = serverOf(settings);
  const { user } = settings;
  if (/authorization violation/i.test(reason)) {
    return user === undefined
      ? `${server} lets in known users only: set NATS_USER and NATS_PASSWORD to the worker’s`
      : `${server} refuses user "${user}" with this password: correct NATS_USER and NATS_PASSWORD`;
  }
  if (!/permissions violation/i.test(reason)) return null;
  const who = user === undefined ? 'whoever has no user' : `user "${user}"`;
  return `${server} does not let ${who} work: set NATS_USER and NATS_PASSWORD to the worker’s (${reason})`;
}

/** Without a password, which may stand before the host. */
function serverOf({ url }: BusSettings): string {
  return `the nats-server at ${url.replace(/^([a-z]+:\/\/)?[^/]*@/i, '$1')}`;
}
