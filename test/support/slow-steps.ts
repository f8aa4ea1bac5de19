/**
 * Test support, loaded into a process by `--import`: every step on its CPU takes at least STEP_MS, so that what must
 * still run when a test looks does so on any machine. The thread waits in native code, as in a long run of the model.
 */
import { fileURLToPath } from 'node:url';
import koffi from 'koffi';
import { CpuRunner } from '../../gpu-worker/model/cpu-runner.ts';

/** Environment of a process whose steps take at least so long. */
export function slowSteps(stepMs: number): Readonly<Record<string, string>> {
  return { NODE_OPTIONS: `--import ${fileURLToPath(import.meta.url)}`, STEP_MS: String(stepMs) };
}

const stepMs = Number(process.env['STEP_MS'] ?? 0);

if (stepMs > 0) {
  const sleepMicroseconds = koffi.load(null).func('int usleep(unsigned int microseconds)');
  const { collect } = CpuRunner.prototype;
  CpuRunner.prototype.collect = function () {
    const begin = performance.now();
    const result = collect.call(this);
    const leftMs = stepMs - (performance.now() - begin);
    if (leftMs > 0) sleepMicroseconds(Math.ceil(leftMs * 1000));
    return result;
  };
}
