/** The edge's database, through wrangler: on this machine or, with `remote`, in the cloud. Knows no tables. */
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Where the database is. */
export type Place = { readonly remote: true } | { readonly remote: false; readonly folder: string };

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** Before a team made its own. */
const NO_DATABASE = '00000000-0000-0000-0000-000000000000';
const WRANGLER = join(ROOT, 'node_modules/wrangler/bin/wrangler.js');

/** As the flags --remote and --persist-to say; without them that of the running `npm start`. */
export function placeOf(remote: boolean, folder: string | undefined, root = ROOT): Place {
  if (!remote) return { remote, folder: folder ?? devFolder(root) };
  if (folder !== undefined) throw new Error('--remote and --persist-to name two databases; use one.');
  if (readFileSync(join(root, 'wrangler.toml'), 'utf8').includes(NO_DATABASE)) {
    const fix = 'put the id there that `npx wrangler d1 create millrace` prints';
    throw new Error(`--remote: the database_id in wrangler.toml names no database yet; ${fix}.`);
  }
  return { remote };
}

/** Of the running `npm start`. Throws when there is none, or more than one. */
export function devFolder(root = ROOT): string {
  const parent = join(root, '.wrangler');
  const folders = names(parent).filter((name) => isAlive(Number(/^start-(\d+)$/.exec(name)?.[1])));
  const [folder, ...others] = folders.map((name) => join(parent, name));
  const fix = 'start one with `npm start`, name its folder with --persist-to, or use --remote';
  if (folder === undefined) throw new Error(`No development stack is running here: ${fix}.`);
  if (others.length > 0)
    throw new Error(`Several stacks are running; name one with --persist-to: ${folder}, ${others}.`);
  return folder;
}

/** Rows that the command gives. */
export async function query<Row>(place: Place, sql: string): Promise<readonly Row[]> {
  const where = place.remote ? ['--remote'] : ['--local', '--persist-to', place.folder];
  const { code, stdout, stderr } = await wrangler(['d1', 'execute', 'DB', ...where, '--json', '--command', sql]);
  const answer = parsed(stdout);
  if (code === 0 && Array.isArray(answer)) {
    return (answer as readonly { readonly results: readonly Row[] }[]).flatMap(({ results }) => results);
  }
  const told = (answer as { readonly error?: { readonly text?: string } } | null)?.error?.text;
  const reason = told ?? (stderr.trim() || stdout.trim());
  const isBare = reason.includes('no such table');
  const hint = isBare ? ` Apply the migrations: npx wrangler d1 migrations apply DB ${where.join(' ')}` : '';
  throw new Error(`The database did not take the command: ${reason}${hint}`);
}

/** Any text as SQL: nothing in it can end the literal. */
export function literal(text: string): string {
  return `CAST(X'${Buffer.from(text).toString('hex')}' AS TEXT)`;
}

async function wrangler(
  args: readonly string[],
): Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }> {
  const env = { ...process.env, WRANGLER_SEND_METRICS: 'false' };
  const child = spawn(process.execPath, [WRANGLER, ...args], { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const out = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (out.stderr += text));
  const code = await new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve));
  return { code, ...out };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function names(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function isAlive(pid: number): boolean {
  try {
    return Number.isInteger(pid) && process.kill(pid, 0);
  } catch {
    return false;
  }
}
