/** A lock between processes, also of other containers, as a file that its holder keeps fresh. Knows nothing of what it guards. */
import { closeSync, fstatSync, futimesSync, openSync, rmSync, statSync, type Stats } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

const BEAT_MS = 1000;
/** A holder that died, or whose clock differs by so much. */
const STALE_MS = 8000;
const POLL_MS = 200;

export class FileLock {
  readonly #path: string;
  /** Open while the lock is held, so that the file of who takes it over from a paused process is another one. */
  readonly #descriptor: number;
  readonly #file: Stats;
  readonly #beat: NodeJS.Timeout;

  /** Waits while it is held, in this process or another. */
  static async take(path: string, signal: AbortSignal): Promise<FileLock> {
    for (;;) {
      try {
        return new FileLock(path, openSync(path, 'wx'));
      } catch (error) {
        if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
      }
      const { mtimeMs } = statSync(path, { throwIfNoEntry: false }) ?? { mtimeMs: Date.now() };
      if (Math.abs(Date.now() - mtimeMs) > STALE_MS) rmSync(path, { force: true });
      else await delay(POLL_MS, undefined, { signal });
    }
  }

  private constructor(path: string, descriptor: number) {
    this.#path = path;
    this.#descriptor = descriptor;
    this.#file = fstatSync(descriptor);
    this.#beat = setInterval(() => refresh(descriptor), BEAT_MS).unref();
  }

  release(): void {
    clearInterval(this.#beat);
    const there = statSync(this.#path, { throwIfNoEntry: false });
    if (there?.ino === this.#file.ino && there.dev === this.#file.dev) rmSync(this.#path, { force: true });
    closeSync(this.#descriptor);
  }
}

function refresh(descriptor: number): void {
  const now = new Date();
  try {
    futimesSync(descriptor, now, now);
  } catch {
    // Somebody took it for stale; the hash of what is written decides.
  }
}
