/**
 * Test support, loaded into a process by `--import`: every step of its CPU is said to have taken a time that follows
 * from its tokens alone, so that what the engine decides by the times of steps does not depend on the machine.
 */
import { fileURLToPath } from 'node:url';
import { CpuRunner } from '../../gpu-worker/model/cpu-runner.ts';

/** Environment of a process with such steps. */
export const EVEN_STEPS = { NODE_OPTIONS: `--import ${fileURLToPath(import.meta.url)}`, EVEN_STEPS: 'yes' } as const;

if (process.env['EVEN_STEPS'] !== undefined) {
  const { launch, collect } = CpuRunner.prototype;
  let tokens = 0;
  CpuRunner.prototype.launch = function (plan) {
    ({ tokens } = plan);
    launch.call(this, plan);
  };
  CpuRunner.prototype.collect = function () {
    return { ...collect.call(this), runMs: 10 + tokens / 10, sampleMs: 0 };
  };
}
