/** What a key needs of the edge that it will open: its pepper, which nobody can read back from a Worker, and its URL. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { WorkerdConfig } from '../dev/workerd.ts';
import type { Place } from '../d1/database.ts';

export interface Edge {
  readonly pepper: string;
  readonly url: string;
}

/** The development stack whose database it is, else KEY_PEPPER of `env` and a URL to fill in. */
export function edgeOf(place: Place, env: NodeJS.ProcessEnv): Edge {
  const stack = place.remote ? null : stackOf(place.folder);
  return stack ?? { pepper: checked(env['KEY_PEPPER'] ?? ''), url: 'https://<your edge>' };
}

/** As infra/dev/edge.ts wrote it. */
function stackOf(folder: string): Edge | null {
  let text: string;
  try {
    text = readFileSync(join(folder, 'edge.json'), 'utf8');
  } catch {
    return null;
  }
  const { bindings, port } = JSON.parse(text) as WorkerdConfig;
  return { pepper: checked(bindings['KEY_PEPPER'] ?? ''), url: `http://127.0.0.1:${port}` };
}

function checked(pepper: string): string {
  if (pepper === '') {
    throw new Error(`KEY_PEPPER is not set. It must be the same as the Worker's secret of that name: with another one the edge
refuses the key. For a Worker that has none yet, make one, keep it where your secrets are, and give it to the Worker:
  export KEY_PEPPER=$(openssl rand -hex 32)
  printf %s "$KEY_PEPPER" | npx wrangler secret put KEY_PEPPER`);
  }
  if (pepper === pepper.trim()) return pepper;
  throw new Error('KEY_PEPPER begins or ends with blanks, and wrangler cuts those at the end of secrets: remove them.');
}
