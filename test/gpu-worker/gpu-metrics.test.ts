import { Registry } from 'prom-client';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { addGpuMetrics } from '../../gpu-worker/gpu-metrics.ts';
import type { GpuReading } from '../../gpu-worker/model/runtime/nvml.ts';
import { gpuReader } from '../../gpu-worker/model/runtime/nvml.ts';
import { whyNoCuda } from '../../gpu-worker/model/runtime/cudart.ts';

const READING: GpuReading = { utilization: 0.97, memoryUsedBytes: 7e10, memoryTotalBytes: 8e10, powerWatts: 612.5 };

// A reading is good for a while, which passes when a test says so.
beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }));
afterEach(() => void vi.useRealTimers());

test('one reading a scrape fills every gauge', async () => {
  const registry = new Registry();
  let reads = 0;
  addGpuMetrics(registry, () => {
    reads++;
    return READING;
  });
  const text = await registry.metrics();
  expect(text).toContain('millrace_gpu_utilization_perc 0.97');
  expect(text).toContain('millrace_gpu_memory_used_bytes 70000000000');
  expect(text).toContain('millrace_gpu_power_watts 612.5');
  expect(reads).toBe(1);
});

test('a GPU that does not answer has no old figures', async () => {
  const registry = new Registry();
  let reading: GpuReading | null = READING;
  addGpuMetrics(registry, () => reading);
  await registry.metrics();
  reading = null;
  vi.advanceTimersByTime(150);
  expect(await registry.metrics()).not.toMatch(/^millrace_gpu/m);
});

test.skipIf(whyNoCuda() === null)('without a driver there is nothing to read', () => {
  expect(gpuReader(0)).toBeNull();
});
