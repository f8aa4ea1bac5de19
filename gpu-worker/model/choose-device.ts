/** Where a model runs: asked for, or found out. Opens nothing. */
import type { DeviceChoice } from './device.ts';
import { missingCudaFiles } from './runtime/cuda-provider.ts';
import { whyNoCuda } from './runtime/cudart.ts';
import { ortLibrary } from './runtime/ort-library.ts';
import type { Quantization } from './quantize/scheme.ts';

/** auto: the GPU where there is one, its libraries are there and the weights are not to be quantized. */
export function chooseDevice(choice: DeviceChoice, quantization: Quantization): 'cpu' | 'cuda' {
  if (choice === 'cuda' && quantization !== 'none') {
    throw new RangeError(
      `quantization ${quantization} is for --device cpu: on a GPU weights have 16 bits; give none, or take the CPU`,
    );
  }
  if (choice !== 'auto') return choice;
  if (quantization !== 'none' || whyNoCuda() !== null) return 'cpu';
  return missingCudaFiles(ortLibrary().folder).length === 0 ? 'cuda' : 'cpu';
}
