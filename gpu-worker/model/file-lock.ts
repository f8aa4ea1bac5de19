/** A lock between processes, also of other containers, as a file that its holder keeps fresh. Knows nothing of what it guards. */
import { closeSync, openSync, rmSync, statSync, utimesSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

const BEAT_MS = 1000;
/** A holder that died, or whose clock differs by so much. */
const STALE_MS = 8000;
const POLL_MS = 200;

export class FileLock {
  readonly #path: string;
  readonly #beat: NodeJS.Timeout;

  /** Waits while it is held, in this process or another. */
  static async take(path: string, signal: AbortSignal): Promise<FileLock> {
    for (;;) {
      try {
        closeSync(openSync(path, 'wx'));
        return new FileLock(path);
      } catch (error) {
        if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
      }
      const { mtimeMs } = statSync(path, { throwIfNoEntry: false }) ?? { mtimeMs: Date.now() };
      if (Math.abs(Date.now() - mtimeMs) > STALE_MS) rmSync(path, { force: true });
      else await delay(POLL_MS, undefined, { signal });
    }
  }

  private constructor(path: string) {
    this.#path = path;
    this.#beat = setInterval(() => refresh(path), BEAT_MS).unref();
  }

  release(): void {
    clearInterval(this.#beat);
    rmSync(this.#path, { force: true });
  }
}

function refresh(path: string): void {
  const now = new Date();
  try {
    utimesSync(path, now, now);
  } catch {
    // Somebody took it for stale; the hash of what is written decides.
  }
}
