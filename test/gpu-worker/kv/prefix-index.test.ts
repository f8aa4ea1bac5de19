import { expect, test } from 'vitest';
import { NONE } from '../../../gpu-worker/kv/piece-table.ts';
import { PrefixHash } from '../../../gpu-worker/kv/prefix-hash.ts';
import { PrefixIndex } from '../../../gpu-worker/kv/prefix-index.ts';
import { fresh, joined } from './owners.ts';

/** Two pieces whose hashes are equal in both lanes, found by a search over pairs of first tokens. */
const COLLIDING = [
  [84_678, 0],
  [99_141, 391_561_950],
].map((start) => Int32Array.from({ length: 16 }, (_, i) => start[i] ?? i)) as [Int32Array, Int32Array];

function hold(index: PrefixIndex, block: number, tokens: Int32Array, parent = NONE): void {
  index.open(block, parent, '');
  index.append(block, tokens, { from: 0, to: tokens.length });
}

test('equal hashes of other tokens are never taken for a match', () => {
  const [one, other] = COLLIDING;
  const hashes = COLLIDING.map((tokens) => {
    const hash = new PrefixHash();
    hash.reset('');
    hash.add(tokens, 0);
    return [hash.low, hash.high];
  });
  expect(hashes[0]).toEqual(hashes[1]);
  const tail = fresh(20);
  const index = new PrefixIndex(4, 48);
  hold(index, 0, joined(one, tail));
  expect(index.find({ sequence: 1, salt: '', tokens: joined(other, tail) }, 36, NONE)).toBeNull();
  expect(index.find({ sequence: 1, salt: '', tokens: joined(one, tail) }, 36, NONE)).toEqual({ block: 0, tokens: 36 });
  hold(index, 1, joined(other, tail));
  expect(index.violations()).toEqual([]);
});

test('a collision in a later piece costs no more than what follows it', () => {
  const [one, other] = COLLIDING;
  const head = fresh(16);
  const index = new PrefixIndex(4, 48);
  hold(index, 0, joined(head, one));
  const owner = { sequence: 1, salt: '', tokens: joined(head, other) };
  expect(index.find(owner, 32, NONE)).toEqual({ block: 0, tokens: 16 });
});

test('of many blocks with one prefix the longest match is found, and the preferred one among equals', () => {
  const head = fresh(16);
  const index = new PrefixIndex(8, 48);
  const tail = fresh(20);
  for (const block of [3, 1, 5, 2]) hold(index, block, joined(head, tail.subarray(0, block)));
  const owner = { sequence: 1, salt: '', tokens: joined(head, tail) };
  expect(index.find(owner, 36, NONE)).toEqual({ block: 5, tokens: 21 });
  expect([1, 2, 3, 5].map((block) => index.find(owner, 17, block)?.block)).toEqual([1, 2, 3, 5]);
});

test('a chain is compared from its end to its head', () => {
  const tokens = fresh(48);
  const index = new PrefixIndex(4, 16);
  for (const block of [0, 1, 2])
    hold(index, 2 - block, tokens.subarray(block * 16, block * 16 + 16), 3 - block === 3 ? NONE : 3 - block);
  expect(index.find({ sequence: 1, salt: '', tokens }, 48, NONE)).toEqual({ block: 0, tokens: 48 });
  expect(index.find({ sequence: 1, salt: '', tokens: tokens.subarray(16) }, 32, NONE)).toBeNull();
});

test('what is truncated is not found, what is moved is found there', () => {
  const tokens = fresh(48);
  const index = new PrefixIndex(4, 48);
  hold(index, 0, tokens);
  index.truncate(0, 40);
  expect(index.find({ sequence: 1, salt: '', tokens }, 48, NONE)).toEqual({ block: 0, tokens: 40 });
  index.move(0, 3);
  expect(index.find({ sequence: 1, salt: '', tokens }, 48, NONE)).toEqual({ block: 3, tokens: 40 });
  expect(index.length(0)).toBe(0);
  expect(index.violations()).toEqual([]);
  expect(() => index.move(0, 3)).toThrow('block 3 still holds 40 tokens');
});
