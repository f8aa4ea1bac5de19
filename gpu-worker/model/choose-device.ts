/** Where a model runs: asked for, or found out. Opens nothing. */
import type { DeviceChoice } from './device.ts';
import { missingCudaFiles } from './runtime/cuda-provider.ts';
import { whyNoCuda } from './runtime/cudart.ts';
import { ortLibrary } from './runtime/ort-library.ts';

/** auto: the GPU where there is one and its libraries are there. */
export function chooseDevice(choice: DeviceChoice): 'cpu' | 'cuda' {
  if (choice !== 'auto') return choice;
  if (whyNoCuda() !== null) return 'cpu';
  return missingCudaFiles(ortLibrary().folder).length === 0 ? 'cuda' : 'cpu';
}
