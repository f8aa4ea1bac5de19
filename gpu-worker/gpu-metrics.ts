/** Gauges of the GPU that a worker serves from, read when somebody looks. Knows no driver. */
import { Gauge } from 'prom-client';
import type { Registry } from 'prom-client';
import type { GpuReading } from './model/runtime/nvml.ts';

const GAUGES = [
  ['gpu_utilization_perc', 'Time in which the GPU ran a kernel, 1 = all', 'utilization'],
  ['gpu_memory_used_bytes', 'GPU memory in use, by whomever', 'memoryUsedBytes'],
  ['gpu_memory_total_bytes', 'GPU memory in all', 'memoryTotalBytes'],
  ['gpu_power_watts', 'What the GPU draws', 'powerWatts'],
] as const satisfies readonly (readonly [name: string, help: string, field: keyof GpuReading])[];

/** A reading serves all gauges of one scrape. */
const FRESH_MS = 100;

export function addGpuMetrics(registry: Registry, read: () => GpuReading | null): void {
  let last: { readonly reading: GpuReading | null; readonly atMs: number } | null = null;
  const reading = (): GpuReading | null => {
    const atMs = performance.now();
    if (last === null || atMs - last.atMs > FRESH_MS) last = { reading: read(), atMs };
    return last.reading;
  };
  for (const [name, help, field] of GAUGES) {
    new Gauge({
      ...{ name: `millrace_${name}`, help, registers: [registry] },
      collect() {
        const now = reading();
        // A GPU that does not answer has no figures: an old one would look alive.
        if (now === null) this.remove();
        else this.set(now[field]);
      },
    });
  }
}
