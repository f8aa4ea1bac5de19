/**
 * Test support, loaded into a worker process by `--import`: its device is lost at a step given by LOSE_DEVICE_AT. From
 * then on every launch and collect throws, as of a GPU that fell off the bus.
 */
import { CpuRunner } from '../../gpu-worker/model/cpu-runner.ts';

export const LOSS = 'cudaEventSynchronize: unspecified launch failure (719)';
const AT = Number(process.env['LOSE_DEVICE_AT']);

const { launch, collect } = CpuRunner.prototype;
let steps = 0;

CpuRunner.prototype.launch = function (plan) {
  if (steps >= AT) throw new Error(LOSS);
  launch.call(this, plan);
};
CpuRunner.prototype.collect = function () {
  if (++steps < AT) return collect.call(this);
  Object.defineProperty(this, 'lost', { value: LOSS });
  throw new Error(LOSS);
};
