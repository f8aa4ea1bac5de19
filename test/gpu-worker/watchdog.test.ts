import { Worker } from 'node:worker_threads';
import { afterEach, expect, test, vi } from 'vitest';
import { StepClock } from '../../gpu-worker/engine/step-clock.ts';
import { startWatchdog } from '../../gpu-worker/watchdog.ts';
import { until } from '../support/stack.ts';

const STEP_TIMEOUT_MS = 200;
/** Begins a step in the clock's memory and blocks its thread for ever. */
const THREAD = `
  const { workerData } = require('node:worker_threads');
  Atomics.store(new BigInt64Array(workerData.memory), 2, BigInt(Date.now()));
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
`;

const clock = new StepClock();
const messages: string[] = [];
const watch = () =>
  startWatchdog({
    stepTimeoutMs: STEP_TIMEOUT_MS,
    lastStep: () => clock.read(),
    onHung: (message) => messages.push(message),
  });
afterEach(() => {
  vi.useRealTimers();
  clock.end(0);
  messages.length = 0;
});

test('a thread blocked inside a step is reported once', async () => {
  const stop = watch();
  const thread = new Worker(THREAD, { eval: true, workerData: { memory: clock.memory } });
  await until(() => messages.length > 0);
  await new Promise((resolve) => setTimeout(resolve, 2 * STEP_TIMEOUT_MS));
  stop();
  await thread.terminate();
  expect(messages).toEqual([expect.stringContaining('a step has been running')]);
});

test('many short steps and idle time are healthy', () => {
  vi.useFakeTimers();
  const stop = watch();
  for (const ms of Array.from({ length: 40 }, (_, i) => 5 * i)) {
    clock.begin(Date.now());
    vi.advanceTimersByTime(ms);
    clock.end(Date.now());
  }
  vi.advanceTimersByTime(10 * STEP_TIMEOUT_MS);
  expect(messages).toEqual([]);
  clock.begin(Date.now());
  vi.advanceTimersByTime(2 * STEP_TIMEOUT_MS);
  expect(messages).toHaveLength(1);
  stop();
});
