import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { StepClock } from '../../gpu-worker/engine/step-clock.ts';
import { startWatchdog } from '../../gpu-worker/watchdog.ts';

const STEP_TIMEOUT_MS = 200;
/** Begins a step in the clock's memory and blocks its thread for `workerData.blockMs`; then ends it, if told to. */
const THREAD = `
  const { workerData } = require('node:worker_threads');
  const values = new BigInt64Array(workerData.memory);
  const cell = new Int32Array(new SharedArrayBuffer(4));
  for (let i = 0; i < workerData.steps; i++) {
    Atomics.store(values, 2, BigInt(Date.now()));
    Atomics.wait(cell, 0, 0, workerData.blockMs);
    Atomics.store(values, 2, 0n);
  }
`;

async function hung(steps: number, blockMs: number): Promise<string[]> {
  const clock = new StepClock();
  const messages: string[] = [];
  const stop = startWatchdog({
    stepTimeoutMs: STEP_TIMEOUT_MS,
    lastStep: () => clock.read(),
    onHung: (message) => messages.push(message),
  });
  const thread = new Worker(THREAD, { eval: true, workerData: { memory: clock.memory, steps, blockMs } });
  await new Promise((resolve) => setTimeout(resolve, 6 * STEP_TIMEOUT_MS));
  stop();
  await thread.terminate();
  return messages;
}

test('a thread blocked inside a step is reported once', async () => {
  expect(await hung(1, 60_000)).toEqual([expect.stringContaining('a step has been running')]);
});

test('many short steps and idle time are healthy', async () => {
  expect(await hung(20, 30)).toEqual([]);
});
