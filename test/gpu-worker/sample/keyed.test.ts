import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { drawKeyed } from '../../../gpu-worker/sample/keyed.ts';
import type { ProbRow, Truncation } from '../../../gpu-worker/sample/keyed.ts';
import { drawKey, gumbel, seedKey, TAIL_KEY, TAIL_PICK_KEY, uniform } from '../../../gpu-worker/sample/noise.ts';
import { Ranking } from '../../../gpu-worker/sample/ranking.ts';
import { keptIds, misfit, OFF, sortedIds, truncated } from './reference.ts';

const TOP = 64;

/** A row of `size` probabilities with a long flat tail. */
function distribution(size: number): Float32Array {
  return normalized(Array.from({ length: size }, (_, i) => 1 / (3 + ((i * 37) % size))));
}

function normalized(weights: readonly number[]): Float32Array {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return Float32Array.from(weights, (weight) => weight / total);
}

function rowOf(probs: Float32Array): ProbRow {
  const topIds = Int32Array.from(sortedIds(probs).slice(0, TOP));
  return { vocabSize: probs.length, probs, topIds, topProbs: Float32Array.from(topIds, (id) => probs[id] ?? 0) };
}

describe.each<[string, number, Truncation]>([
  ['no truncation, small vocabulary', 40, OFF],
  ['no truncation, half the mass in the tail', 400, OFF],
  ['top-k inside the candidates', 400, { ...OFF, topK: 20 }],
  ['top-k beyond the candidates', 400, { ...OFF, topK: 150 }],
  ['top-p inside the candidates', 400, { ...OFF, topP: 0.3 }],
  ['top-p beyond the candidates', 400, { ...OFF, topP: 0.9 }],
  ['min-p', 400, { ...OFF, minP: 0.2 }],
  ['min-p beyond the candidates', 400, { ...OFF, minP: 0.01 }],
  ['top-k beyond, top-p inside', 400, { ...OFF, topK: 200, topP: 0.2 }],
  ['all three', 400, { topK: 200, topP: 0.9, minP: 0.02 }],
])('%s', (_, size, limits) => {
  test('draws follow the exact distribution (chi-square)', () => {
    const row = rowOf(distribution(size));
    const draws = Array.from({ length: 20_000 }, (_, index) => drawKeyed(row, limits, drawKey(seedKey(42), 0, index)));
    expect(misfit(draws, truncated(row.probs, limits))).toBeNull();
  });
});

/** The same draw with a full sort. */
function naiveDraw(row: ProbRow, limits: Truncation, key: number): number {
  const prob = (id: number) => row.probs[id] ?? 0;
  const kept = keptIds(row.probs, limits);
  const tail = kept.slice(TOP);
  if (limits.topK === 0 && limits.topP >= 1 && limits.minP <= 0) tail.sort((a, b) => a - b);
  const scores = kept.slice(0, TOP).map((id) => ({ id, score: Math.log(prob(id)) + gumbel(key, id) }));
  const best = scores.reduce((a, b) => (b.score > a.score ? b : a));
  const mass = tail.reduce((sum, id) => sum + prob(id), 0);
  if (mass <= 0 || Math.log(mass) + gumbel(key, TAIL_KEY) <= best.score) return best.id;
  let left = uniform(key, TAIL_PICK_KEY) * mass;
  for (const id of tail) if ((left -= prob(id)) < 0) return id;
  return tail.at(-1) ?? best.id;
}

/** Few distinct weights make ties, and many tokens make tails. */
const rows = fc
  .oneof(
    fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 700 }),
    fc.array(fc.double({ min: 1e-6, max: 1, noNaN: true }), { minLength: 1, maxLength: 300 }),
    fc.integer({ min: 65, max: 3000 }).map((size) => new Array<number>(size).fill(1)),
  )
  .map(normalized);
const truncations: fc.Arbitrary<Truncation> = fc.record({
  topK: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 800 })),
  topP: fc.oneof(fc.constant(1), fc.double({ min: 0, max: 1, noNaN: true })),
  minP: fc.oneof(fc.constant(0), fc.double({ min: 0, max: 1, noNaN: true })),
});

test('draws equal those of a full sort: top-k, then top-p, then min-p, ties by id', () => {
  fc.assert(
    fc.property(rows, truncations, fc.integer(), (probs, limits, seed) => {
      const row = rowOf(probs);
      for (let index = 0; index < 8; index++) {
        const key = drawKey([seed, 0], 0, index);
        expect(drawKeyed(row, limits, key)).toBe(naiveDraw(row, limits, key));
      }
    }),
    { numRuns: 300, seed: 7 },
  );
});

test('a prefix of the ranking equals that of a full sort, by count and by mass', () => {
  fc.assert(
    fc.property(rows, fc.double({ min: 0, max: 1.01, noNaN: true }), fc.nat({ max: 800 }), (probs, mass, extra) => {
      const ranking = new Ranking(probs);
      const order = sortedIds(probs);
      const count = 1 + extra;
      const byCount = ranking.until({ count, mass: Infinity });
      expect(byCount.count).toBe(Math.min(count, probs.length));
      expect(byCount.last).toBe(order[byCount.count - 1]);
      let sum = 0;
      let reached = 0;
      for (const id of order) {
        sum += probs[id] ?? 0;
        reached++;
        if (sum >= mass) break;
      }
      const byMass = ranking.until({ count: Infinity, mass });
      expect(byMass.count).toBe(reached);
      expect(byMass.mass).toBeCloseTo(sum, 12);
      expect(byMass.last).toBe(order[reached - 1]);
    }),
    { numRuns: 300, seed: 7 },
  );
});

test('what softmax leaves of forbidden tokens is never drawn', () => {
  const probs = new Float32Array(500).fill(4e-39);
  // The two that are left sum to a little less than 1, as after rounding.
  probs[3] = 0.75;
  probs[77] = 0.2499;
  const row = rowOf(probs);
  for (const limits of [OFF, { ...OFF, topP: 0.99999 }, { ...OFF, topK: 400 }]) {
    const draws = Array.from({ length: 20_000 }, (_, index) => drawKeyed(row, limits, drawKey([1, 2], 0, index)));
    expect(new Set(draws)).toEqual(new Set([3, 77]));
  }
});

test('the draw depends on seed, choice and index', () => {
  const row = rowOf(distribution(400));
  const draws = (seed: number, choice: number) =>
    Array.from({ length: 50 }, (_, index) => drawKeyed(row, OFF, drawKey(seedKey(seed), choice, index)));
  expect(draws(1, 0)).toEqual(draws(1, 0));
  expect(draws(1, 0)).not.toEqual(draws(2, 0));
  expect(draws(1, 0)).not.toEqual(draws(1, 1));
  expect(draws(1, 0)).not.toEqual(draws(1 + 2 ** 40, 0));
});

test('the noise of a seed stays what it is: texts of seeds depend on it', () => {
  const noise = (seed: number, choice: number, index: number, token: number) =>
    uniform(drawKey(seedKey(seed), choice, index), token);
  expect(noise(0, 0, 0, 0)).toBe(0.22091235232073814);
  expect(noise(42, 0, 7, 1234)).toBe(0.10958725458476692);
  expect(noise(2 ** 40 + 5, 3, 1000, 151_935)).toBe(0.8709427333669737);
});
