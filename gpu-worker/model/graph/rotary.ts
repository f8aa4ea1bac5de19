/** Cosine and sine tables of rotary position embedding, frequencies scaled as the model asks. Knows no graph. */
import type { Llama3Scaling, Rope, YarnScaling } from '../rope-config.ts';

export interface RotaryTables {
  /** [positions, rotated dimensions / 2] */
  readonly cos: Float32Array;
  readonly sin: Float32Array;
}

/**
 * In float32 where Hugging Face's implementation is: position × frequency is rounded before the cosine. LongRoPE has one
 * set of frequencies up to its original length and one beyond; `positions` decides which, for all sequences, since keys
 * in the cache cannot turn from one to the other.
 */
export function rotaryTables(rope: Rope, positions: number): RotaryTables {
  const half = rope.dims / 2;
  const cos = new Float32Array(positions * half);
  const sin = new Float32Array(positions * half);
  const gain = rope.scaling !== null && 'attentionFactor' in rope.scaling ? rope.scaling.attentionFactor : 1;
  for (let i = 0; i < half; i++) {
    const frequency = Math.fround(scaled(rope, i, positions));
    for (let position = 0; position < positions; position++) {
      const angle = Math.fround(position * frequency);
      cos[position * half + i] = Math.cos(angle) * gain;
      sin[position * half + i] = Math.sin(angle) * gain;
    }
  }
  return { cos, sin };
}

/** The i-th frequency, in radians a position. */
function scaled(rope: Rope, i: number, positions: number): number {
  const { theta, dims, scaling } = rope;
  const frequency = Math.fround(1 / Math.fround(theta ** ((2 * i) / dims)));
  switch (scaling?.type) {
    case undefined:
      return frequency;
    case 'linear':
      return frequency / scaling.factor;
    case 'llama3':
      return llama3(frequency, scaling);
    case 'yarn':
      return yarn(frequency, scaling, { rope, i });
    case 'longrope':
      return (
        frequency / ((positions > scaling.originalMaxPositions ? scaling.longFactors : scaling.shortFactors)[i] ?? 1)
      );
  }
}

/** Long waves are slowed by `factor`, short ones kept, those between blended (Llama 3.1's rule). */
function llama3(frequency: number, scaling: Llama3Scaling): number {
  const wavelength = (2 * Math.PI) / frequency;
  const turns = scaling.originalMaxPositions / wavelength;
  if (turns < scaling.lowFreqFactor) return frequency / scaling.factor;
  if (turns > scaling.highFreqFactor) return frequency;
  const blend = (turns - scaling.lowFreqFactor) / (scaling.highFreqFactor - scaling.lowFreqFactor);
  return (1 - blend) * (frequency / scaling.factor) + blend * frequency;
}

/** Dimensions that turn betaFast times or more in the original length are kept, up to betaSlow slowed, a ramp between. */
function yarn(frequency: number, scaling: YarnScaling, { rope, i }: { rope: Rope; i: number }): number {
  const { dims, theta } = rope;
  const dimensionOf = (turns: number): number =>
    (dims * Math.log(scaling.originalMaxPositions / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  const bounds = [dimensionOf(scaling.betaFast), dimensionOf(scaling.betaSlow)] as const;
  const low = Math.max(0, scaling.truncate ? Math.floor(bounds[0]) : bounds[0]);
  const high = Math.min(dims - 1, scaling.truncate ? Math.ceil(bounds[1]) : bounds[1]);
  const width = low === high ? 0.001 : high - low;
  const slowed = Math.min(1, Math.max(0, (i - low) / width));
  return (frequency / scaling.factor) * slowed + frequency * (1 - slowed);
}
