/** Pure: how heads that are turned in part lie for a kernel that turns whole heads. Knows no graph. */
import type { ModelConfig } from '../config.ts';

/**
 * Column of the packed projection that comes to each place. A kernel turns dimension i of a head with i + headDim / 2,
 * the model i with i + dims / 2 for the first `dims`: queries and keys in the same other order give the same products.
 */
export function dimensionOrder(
  { heads, kvHeads, headDim }: Pick<ModelConfig, 'heads' | 'kvHeads' | 'headDim'>,
  dims: number,
): readonly number[] {
  const [half, turned] = [headDim / 2, dims / 2];
  const head = Array.from({ length: headDim }, (_, place) => {
    const [side, i] = [Math.floor(place / half), place % half];
    return i < turned ? side * turned + i : dims + side * (half - turned) + (i - turned);
  });
  const values = Array.from({ length: kvHeads * headDim }, (_, i) => (heads + kvHeads) * headDim + i);
  const queriesAndKeys = Array.from({ length: heads + kvHeads }, (_, i) => head.map((from) => i * headDim + from));
  return [...queriesAndKeys.flat(), ...values];
}

/** [positions, from] → [positions, to], with cosines of 1 and sines of 0 behind. */
export function widened(
  table: Float32Array,
  { from, to, part }: { from: number; to: number; part: 'cos' | 'sin' },
): Float32Array {
  if (from === to) return table;
  const positions = table.length / from;
  const wide = new Float32Array(positions * to).fill(part === 'cos' ? 1 : 0);
  for (let position = 0; position < positions; position++) {
    wide.set(table.subarray(position * from, (position + 1) * from), position * to);
  }
  return wide;
}
