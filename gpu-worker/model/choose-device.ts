/** Where a model runs: asked for, or found out. Opens nothing. */
import type { DeviceChoice } from './device.ts';
import { whyNoProvider } from './runtime/cuda-provider.ts';
import { CudaError, whyNoCuda } from './runtime/cudart.ts';
import { ortLibrary } from './runtime/ort-library.ts';

/** auto: the GPU where there is one and its libraries are there. cuda: throws with what is missing. */
export function chooseDevice(choice: DeviceChoice): 'cpu' | 'cuda' {
  if (choice === 'cuda') requireGpu();
  if (choice !== 'auto') return choice;
  return whyNoGpu() === null ? 'cuda' : 'cpu';
}

/** Throws with what is missing, before anything is read or rounded. */
export function requireGpu(): void {
  const problem = whyNoGpu();
  if (problem !== null) throw new CudaError(`no GPU can be used: ${problem}; --device cpu serves without one`);
}

/** Why no GPU can be used here, in one line; null when one can. */
export function whyNoGpu(): string | null {
  return whyNoCuda() ?? whyNoProvider(ortLibrary());
}
