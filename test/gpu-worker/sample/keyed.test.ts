import { describe, expect, test } from 'vitest';
import type { SampleSpec } from '../../../gpu-worker/engine/step-plan.ts';
import { drawKeyed } from '../../../gpu-worker/sample/keyed.ts';
import { seedKey } from '../../../gpu-worker/sample/noise.ts';

/** A row of `size` probabilities with a long flat tail. */
function distribution(size: number): Float32Array {
  const weights = Array.from({ length: size }, (_, i) => 1 / (3 + ((i * 37) % size)));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return Float32Array.from(weights, (weight) => weight / total);
}

function topOf(row: Float32Array): { readonly probs: Float32Array; readonly ids: Int32Array } {
  const ids = Int32Array.from(row.keys())
    .sort((a, b) => (row[b] ?? 0) - (row[a] ?? 0) || a - b)
    .slice(0, 64);
  return { ids, probs: Float32Array.from(ids, (id) => row[id] ?? 0) };
}

/** The exact distribution after truncation, by the book: top-k, then top-p, then min-p. */
function truncated(row: Float32Array, { topK, topP, minP }: Pick<SampleSpec, 'topK' | 'topP' | 'minP'>): number[] {
  const order = Array.from(row.keys()).sort((a, b) => (row[b] ?? 0) - (row[a] ?? 0) || a - b);
  const kept = topK === 0 ? order : order.slice(0, topK);
  const mass = kept.reduce((sum, id) => sum + (row[id] ?? 0), 0);
  const result = Array.from(row, () => 0);
  let before = 0;
  for (const id of kept) {
    const p = row[id] ?? 0;
    if (before > 0 && (before >= topP * mass || p < minP * (row[order[0] ?? 0] ?? 0))) break;
    result[id] = p;
    before += p;
  }
  return result.map((p) => p / before);
}

const OFF = { topK: 0, topP: 1, minP: 0 };
const DRAWS = 40_000;

describe.each([
  ['no truncation, small vocabulary', 40, OFF],
  ['no truncation, half the mass in the tail', 400, OFF],
  ['top-k inside the candidates', 400, { ...OFF, topK: 20 }],
  ['top-k beyond the candidates', 400, { ...OFF, topK: 150 }],
  ['top-p inside the candidates', 400, { ...OFF, topP: 0.3 }],
  ['top-p beyond the candidates', 400, { ...OFF, topP: 0.9 }],
  ['min-p', 400, { ...OFF, minP: 0.2 }],
  ['top-k beyond, top-p inside', 400, { ...OFF, topK: 200, topP: 0.2 }],
])('%s', (_, size, limits) => {
  test('draws follow the exact distribution (chi-square)', () => {
    const row = distribution(size);
    const expected = truncated(row, limits);
    const top = topOf(row);
    const counts = new Array<number>(size).fill(0);
    for (let index = 0; index < DRAWS; index++) {
      const spec: SampleSpec = { temperature: 1, ...limits, seed: seedKey(42), choice: 0, index };
      const id = drawKeyed(top, row, spec);
      counts[id] = (counts[id] ?? 0) + 1;
    }
    let chiSquare = 0;
    let categories = 0;
    expected.forEach((p, id) => {
      const count = counts[id] ?? 0;
      if (p === 0) expect(count).toBe(0);
      if (p === 0) return;
      categories++;
      chiSquare += (count - p * DRAWS) ** 2 / (p * DRAWS);
    });
    const freedom = categories - 1;
    // Normal approximation: five standard deviations.
    expect(chiSquare).toBeLessThan(freedom + 5 * Math.sqrt(2 * freedom));
  });
});

test('the draw depends on seed, choice and index, and on nothing else', () => {
  const row = distribution(400);
  const draw = (seed: number, choice: number, index: number) =>
    drawKeyed(topOf(row), row, { temperature: 1, ...OFF, seed: seedKey(seed), choice, index });
  expect(draw(1, 0, 0)).toBe(draw(1, 0, 0));
  const draws = (seed: number, choice: number) => Array.from({ length: 50 }, (_, index) => draw(seed, choice, index));
  expect(draws(1, 0)).not.toEqual(draws(2, 0));
  expect(draws(1, 0)).not.toEqual(draws(1, 1));
  expect(draws(1, 0)).not.toEqual(draws(1 + 2 ** 40, 0));
});
