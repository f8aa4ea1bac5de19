import { expect, test } from 'vitest';
import { uniformFloat32, Xoshiro128 } from '../../../gpu-worker/sample/random.ts';
import { misfit } from './reference.ts';

test('the first numbers are those of xoshiro128** worked out by hand', () => {
  const random = new Xoshiro128([1, 2, 3, 4]);
  // rotl(2 × 5, 7) × 9; then the state is [7, 0, 1026, 12288], whose second word is 0.
  expect(random.uint32()).toBe(11_520);
  expect(random.uint32()).toBe(0);
});

test('uniforms are even, exact in float32 and never 0 or 1', () => {
  const random = new Xoshiro128([1, 2, 3, 4]);
  const draws = Array.from({ length: 100_000 }, () => uniformFloat32(random));
  expect(draws.every((u) => u > 0 && u < 1 && Math.fround(u) === u)).toBe(true);
  const cells = draws.map((u) => Math.floor(u * 1000));
  expect(misfit(cells, new Float64Array(1000).fill(1e-3))).toBeNull();
  expect(uniformFloat32({ uint32: () => 0xffff_ffff })).toBe(1 - 2 ** -24);
  expect(uniformFloat32({ uint32: () => 0 })).toBe(2 ** -24);
});

test('generators differ from each other, and the state of zeros is refused', () => {
  expect(Xoshiro128.fromEntropy().uint32()).not.toBe(Xoshiro128.fromEntropy().uint32());
  expect(() => new Xoshiro128([0, 0, 0, 0])).toThrow('must not be all zero');
});
