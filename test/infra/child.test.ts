/** Children of the dev stack end when told to, and when whoever started them is killed. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { Child, untilReady } from '../../infra/dev/child.ts';
import { until } from '../support/stack.ts';

const MODULE = fileURLToPath(new URL('../../infra/dev/child.ts', import.meta.url));
/** A shell with a child of its own: the group has two members. Prints the group's id once both are there. */
const GROUP = ['-c', 'sh -c "echo $$; sleep 300" & wait'];
/** The same, but the second member ignores SIGTERM. */
const STUBBORN = ['-c', "sh -c 'trap : TERM; echo $0; while :; do sleep 1; done' $$ & wait"];

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test('stop ends the whole group and says how', async () => {
  const child = new Child({ command: 'sh', args: STUBBORN, onLine: () => {} });
  await until(() => child.lastLines !== '');
  expect(await child.stop()).toBe('SIGTERM');
  await until(() => !alive(-child.pid));
  expect(child.running).toBe(false);
});

test('a first process that is killed takes its group along', async () => {
  const child = new Child({ command: 'sh', args: STUBBORN, onLine: () => {} });
  await until(() => child.lastLines !== '');
  child.process.kill('SIGKILL');
  expect(await child.exited).toBe('SIGKILL');
  await until(() => !alive(-child.pid));
});

test('a killed starter takes its children along', async () => {
  const program = `import { Child } from ${JSON.stringify(MODULE)};
    new Child({ command: 'sh', args: ${JSON.stringify(GROUP)}, onLine: console.log });`;
  const starter = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const pid = await new Promise<number>((resolve) => {
    createInterface({ input: starter.stdout }).once('line', (line) => resolve(Number(line)));
  });
  expect(alive(-pid)).toBe(true);
  starter.kill('SIGKILL');
  await until(() => !alive(-pid));
});

test('a child that never becomes ready is ended, and its last lines are in the error', async () => {
  const child = new Child({ command: 'sh', args: ['-c', 'echo loading; sleep 300'], onLine: () => {} });
  await until(() => child.lastLines !== '');
  const ready = untilReady(child, { name: 'the part', check: () => Promise.resolve(null), timeoutMs: 300 });
  await expect(ready).rejects.toThrow(/the part was not ready after 0\.3 s:\nloading/);
  expect(child.running).toBe(false);
});

test('a child that ends before it is ready fails at once', async () => {
  const child = new Child({ command: 'sh', args: ['-c', 'echo no model; exit 3'], onLine: () => {} });
  const ready = untilReady(child, { name: 'the part', check: () => Promise.resolve(null) });
  await expect(ready).rejects.toThrow(/the part ended \(code 3\) before it was ready:\nno model/);
});

test('a program that does not exist is an error, not a crash', async () => {
  const child = new Child({ command: 'no-such-program', args: [], onLine: () => {} });
  expect(await child.exited).toContain('ENOENT');
  expect(child.running).toBe(false);
});
