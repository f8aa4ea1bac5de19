/**
 * Test support, loaded into a worker process by `--import`: its device is lost at a step given by LOSE_DEVICE_AT. From
 * then on every launch and collect throws, as of a GPU that fell off the bus. Where LOSE_DEVICE_FILE names a file, that
 * step hangs until the file is there: what was asked meanwhile is under way, however long it took to ask.
 */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { CpuRunner } from '../../gpu-worker/model/cpu-runner.ts';

export const LOSS = 'cudaEventSynchronize: unspecified launch failure (719)';
const AT = Number(process.env['LOSE_DEVICE_AT']);
const FILE = process.env['LOSE_DEVICE_FILE'] ?? '';
const POLL_MS = 10;

/** Environment of a process that loses its device at this step, or once it hangs there and the file is made. */
export function losingAt(step: number, file = ''): Readonly<Record<string, string>> {
  const preload = `--import ${fileURLToPath(import.meta.url)}`;
  return { NODE_OPTIONS: preload, LOSE_DEVICE_AT: String(step), LOSE_DEVICE_FILE: file };
}

const { launch, collect } = CpuRunner.prototype;
let steps = 0;

CpuRunner.prototype.launch = function (plan) {
  if (steps >= AT) throw new Error(LOSS);
  launch.call(this, plan);
};
CpuRunner.prototype.collect = function () {
  if (++steps < AT) return collect.call(this);
  const clock = new Int32Array(new SharedArrayBuffer(4));
  while (FILE !== '' && !existsSync(FILE)) Atomics.wait(clock, 0, 0, POLL_MS);
  Object.defineProperty(this, 'lost', { value: LOSS });
  throw new Error(LOSS);
};
