/** A child process of the dev stack: its output by lines, its end, and how to end it. Knows no program. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

export interface ChildOptions {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Every line of stdout and stderr. */
  readonly onLine: (line: string) => void;
}

/** After SIGTERM a child gets so long before SIGKILL. Milliseconds. */
const GRACE_MS = 15_000;
/** What it printed last is read by then, unless somebody who outlives it holds its pipes. Milliseconds. */
const LAST_WORDS_MS = 5_000;
/** Waits on a pipe from us; it closes when we die, however that happens: then the group of child $1 is ended too. */
const MINDER = `
read -r _
kill -TERM "-$1" 2>/dev/null || exit
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do sleep 1; kill -0 "-$1" 2>/dev/null || exit; done
kill -KILL "-$1"`;

export class Child implements AsyncDisposable {
  readonly process: ChildProcess;
  /** Resolves with a description once the process is gone and what it printed has been heard. */
  readonly exited: Promise<string>;
  #lines: string[] = [];

  constructor({ command, args, env, cwd, onLine }: ChildOptions) {
    // A group of its own: a terminal's Ctrl-C reaches only the parent, which ends children in order.
    this.process = spawn(command, args, {
      env: { ...process.env, ...env },
      ...(cwd === undefined ? {} : { cwd }),
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    for (const stream of [this.process.stdout, this.process.stderr]) {
      if (stream === null) continue;
      createInterface({ input: stream }).on('line', (line) => {
        this.#lines = [...this.#lines.slice(-19), line];
        onLine(line);
      });
    }
    this.exited = new Promise((resolve) => {
      this.process.once('error', (error) => resolve(String(error)));
      this.process.once('exit', (code, signal) => {
        // What of its group outlives it, however it ended.
        this.#signalGroup('SIGKILL');
        const how = signal ?? `code ${code}`;
        const timer = setTimeout(() => resolve(how), LAST_WORDS_MS);
        this.process.once('close', () => {
          clearTimeout(timer);
          resolve(how);
        });
      });
    });
    this.#mind();
  }

  #mind(): void {
    if (this.process.pid === undefined) return;
    const args = ['-c', MINDER, 'minder', String(this.process.pid)];
    const minder = spawn('sh', args, { stdio: ['pipe', 'ignore', 'ignore'], detached: true });
    minder.on('error', () => {});
    minder.unref();
    void this.exited.then(() => minder.kill('SIGKILL'));
  }

  get pid(): number {
    return this.process.pid ?? 0;
  }

  get running(): boolean {
    return this.process.exitCode === null && this.process.signalCode === null && this.process.pid !== undefined;
  }

  /** The last lines it printed, for error messages. */
  get lastLines(): string {
    return this.#lines.join('\n');
  }

  /** Signals the whole group. */
  kill(signal: NodeJS.Signals): void {
    if (this.running) this.#signalGroup(signal);
  }

  #signalGroup(signal: NodeJS.Signals): void {
    if (this.process.pid === undefined) return;
    try {
      process.kill(-this.pid, signal);
    } catch {
      // Nobody is left in it.
    }
  }

  /** Asks, waits, insists. */
  async stop(): Promise<string> {
    if (!this.running) return this.exited;
    this.kill('SIGTERM');
    const timer = setTimeout(() => this.kill('SIGKILL'), GRACE_MS);
    await once(this.process, 'exit');
    clearTimeout(timer);
    return this.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

export interface ReadyCheck<T> {
  readonly name: string;
  /** Null or a rejection: not yet. */
  readonly check: () => Promise<T | null>;
  readonly timeoutMs?: number;
}

/** Polls until `check` gives a value; fails, and ends the child, when it ends first or time runs out. */
export async function untilReady<T>(child: Child, { name, check, timeoutMs = 90_000 }: ReadyCheck<T>): Promise<T> {
  const end = Date.now() + timeoutMs;
  while (Date.now() < end) {
    const value = await check().catch(() => null);
    if (value !== null) return value;
    if (!child.running)
      throw new Error(`${name} ended (${await child.exited}) before it was ready:\n${child.lastLines}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  await child.stop();
  throw new Error(`${name} was not ready after ${timeoutMs / 1000} s:\n${child.lastLines}`);
}
