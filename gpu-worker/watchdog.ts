/** Notices a step that does not end. Reads shared memory, so it works while the engine thread is blocked. */
import type { LastStep } from './engine/step-clock.ts';

export interface WatchdogOptions {
  readonly stepTimeoutMs: number;
  readonly lastStep: () => LastStep;
  /** Once. */
  readonly onHung: (message: string) => void;
}

/** Returns how to stop watching. */
export function startWatchdog({ stepTimeoutMs, lastStep, onHung }: WatchdogOptions): () => void {
  const timer = setInterval(
    () => {
      const since = lastStep().runningSinceMs;
      if (since === null || Date.now() - since < stepTimeoutMs) return;
      clearInterval(timer);
      onHung(`a step has been running for ${Math.round((Date.now() - since) / 1000)} s`);
    },
    Math.min(1000, stepTimeoutMs / 4),
  );
  timer.unref();
  return () => clearInterval(timer);
}
