/** Cosine and sine tables of rotary position embedding, with Llama 3.1's frequency scaling. Knows no graph. */
import type { Llama3Scaling, ModelConfig } from '../config.ts';

export interface RotaryTables {
  /** [positions, headDim / 2] */
  readonly cos: Float32Array;
  readonly sin: Float32Array;
}

/** In float32 where Hugging Face's implementation is: position × frequency is rounded before the cosine. */
export function rotaryTables(config: ModelConfig, positions: number): RotaryTables {
  const half = config.headDim / 2;
  const cos = new Float32Array(positions * half);
  const sin = new Float32Array(positions * half);
  for (let i = 0; i < half; i++) {
    const plain = Math.fround(1 / Math.fround(config.ropeTheta ** ((2 * i) / config.headDim)));
    const frequency = config.ropeScaling === null ? plain : Math.fround(scaled(plain, config.ropeScaling));
    for (let position = 0; position < positions; position++) {
      const angle = Math.fround(position * frequency);
      cos[position * half + i] = Math.cos(angle);
      sin[position * half + i] = Math.sin(angle);
    }
  }
  return { cos, sin };
}

/** Long waves are slowed by `factor`, short ones kept, those between blended (Llama 3.1's rule). */
function scaled(frequency: number, scaling: Llama3Scaling): number {
  const wavelength = (2 * Math.PI) / frequency;
  const turns = scaling.originalMaxPositions / wavelength;
  if (turns < scaling.lowFreqFactor) return frequency / scaling.factor;
  if (turns > scaling.highFreqFactor) return frequency;
  const blend = (turns - scaling.lowFreqFactor) / (scaling.highFreqFactor - scaling.lowFreqFactor);
  return (1 - blend) * (frequency / scaling.factor) + blend * frequency;
}
