/** What the driver tells about one GPU, by NVML through koffi. Knows no metrics. */
import koffi from 'koffi';
import { pciBusId } from './cudart.ts';

const LIBRARY = 'libnvidia-ml.so.1';
const OK = 0;

/** What a GPU does not tell is NaN: a part of one (MIG) has no utilization. */
export interface GpuReading {
  /** Share of the last sampling period (up to a second) in which a kernel ran, 0 to 1. */
  readonly utilization: number;
  readonly memoryUsedBytes: number;
  readonly memoryTotalBytes: number;
  readonly powerWatts: number;
}

interface Nvml {
  readonly utilization: (device: bigint, out: { gpu?: number }) => number;
  readonly memory: (device: bigint, out: { total?: number | bigint; used?: number | bigint }) => number;
  readonly power: (device: bigint, out: [number | null]) => number;
}

let libraryHandle: ReturnType<typeof koffi.load> | undefined;
let functions: Nvml | undefined;

/** Reads the GPU that CUDA counts as `device`; null where the driver's library is not there or does not answer. */
export function gpuReader(device: number): (() => GpuReading | null) | null {
  try {
    libraryHandle ??= koffi.load(LIBRARY);
    const library = libraryHandle;
    if (library.func('int nvmlInit_v2()')() !== OK) return null;
    const out: [bigint | null] = [null];
    const byBus = library.func('int nvmlDeviceGetHandleByPciBusId_v2(const char*, _Out_ void**)');
    if (byBus(pciBusId(device), out) !== OK || out[0] === null) return null;
    const handle = out[0];
    const nvml = (functions ??= functionsOf(library));
    return () => read(nvml, handle);
  } catch {
    return null;
  }
}

function functionsOf(library: ReturnType<typeof koffi.load>): Nvml {
  koffi.struct('NvmlUtilization', { gpu: 'uint', memory: 'uint' });
  koffi.struct('NvmlMemory', { total: 'uint64_t', free: 'uint64_t', used: 'uint64_t' });
  return {
    utilization: library.func('int nvmlDeviceGetUtilizationRates(void*, _Out_ NvmlUtilization*)'),
    memory: library.func('int nvmlDeviceGetMemoryInfo(void*, _Out_ NvmlMemory*)'),
    power: library.func('int nvmlDeviceGetPowerUsage(void*, _Out_ uint*)'),
  };
}

function read(nvml: Nvml, device: bigint): GpuReading | null {
  const utilization: { gpu?: number } = {};
  const memory: { total?: number | bigint; used?: number | bigint } = {};
  const milliwatts: [number | null] = [null];
  if (nvml.memory(device, memory) !== OK) return null;
  const counted = nvml.utilization(device, utilization) === OK;
  const powered = nvml.power(device, milliwatts) === OK;
  return {
    utilization: counted ? (utilization.gpu ?? 0) / 100 : NaN,
    memoryUsedBytes: Number(memory.used ?? 0),
    memoryTotalBytes: Number(memory.total ?? 0),
    powerWatts: powered ? (milliwatts[0] ?? 0) / 1000 : NaN,
  };
}
