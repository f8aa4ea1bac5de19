/** Pure: a part's rows → what their draws take beside the logits. Knows no CUDA. */
import type { PlanRow } from '../../engine/step-plan.ts';
import { uniformFloat32 } from '../../sample/random.ts';
import type { RandomSource } from '../../sample/random.ts';
import { dividingTemperature } from '../../sample/temperature.ts';
import type { Part, PartLayout, PartShape } from './plan-inputs.ts';

export interface DrawInputs {
  readonly floats: Float32Array;
  readonly layout: PartLayout;
  readonly shape: PartShape;
  readonly random: RandomSource;
}

/** Writes the temperature and the two uniforms of the inverse CDF of every draw. */
export function packDraws(rows: readonly PlanRow[], part: Part, { floats, layout, shape, random }: DrawInputs): void {
  let draw = 0;
  for (const place of part.rows) {
    const { draws = 0, sample = null } = rows[place] ?? {};
    for (let i = 0; i < draws; i++, draw++) {
      floats[layout.temperature + draw] = dividingTemperature(sample?.temperature ?? 0);
      floats[layout.blockUniform + draw] = uniformFloat32(random);
      floats[layout.tokenUniform + draw] = uniformFloat32(random);
    }
  }
  // Rows of a bucket that are not there draw from what lies there; nothing divides by 0.
  floats.fill(1, layout.temperature + draw, layout.temperature + shape.logits);
}
