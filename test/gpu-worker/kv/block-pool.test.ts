import { beforeEach, describe, expect, test } from 'vitest';
import { BlockPool } from '../../../gpu-worker/kv/block-pool.ts';
import { keepsContract } from './contract.ts';
import { fresh, joined, Owners } from './owners.ts';

keepsContract(
  { kind: 'blocks', blocks: 18, blockSize: 32, capacity: 18 * 32, longest: 160, running: 18 },
  () => new BlockPool({ blocks: 18, blockSize: 32 }),
  { steps: 55_000, never: ['arranged', 'drops'] },
);

let kv: BlockPool;
let owners: Owners;
function open(blocks: number): void {
  kv = new BlockPool({ blocks, blockSize: 32 });
  owners = new Owners(kv);
}
beforeEach(() => open(8));

describe('reuse', () => {
  test('full blocks are shared by reference and count once', () => {
    const system = fresh(64);
    const [first, second] = [joined(system, fresh(10)), joined(system, fresh(10))];
    owners.admit(1, first);
    owners.commit(1);
    expect(owners.admit(2, second)).toEqual({ cached: 64, copies: [] });
    expect([...kv.blocks(2).subarray(0, 2)]).toEqual([...kv.blocks(1).subarray(0, 2)]);
    expect(kv.blocks(2)[2]).not.toBe(kv.blocks(1)[2]);
    expect(kv.usage()).toEqual({ capacity: 256, live: 128, cached: 0, pinned: 0, queries: 148, hits: 64 });
  });

  test('a block that matches in part is copied to the token, and its holder keeps it', () => {
    const turn = fresh(64);
    owners.cache(1, turn);
    const admission = owners.admit(2, joined(turn.subarray(0, 53), fresh(20)));
    const [shared, own] = kv.blocks(2);
    expect(admission?.cached).toBe(53);
    expect(admission?.copies).toEqual([{ from: 1, to: own, tokens: 21 }]);
    expect(shared).toBe(0);
    expect(owners.match(turn)).toBe(63);
  });

  test('the last token is always computed: its block is copied, not shared', () => {
    const turn = fresh(64);
    owners.cache(1, turn);
    expect(owners.admit(2, turn)).toEqual({ cached: 63, copies: [{ from: 1, to: 2, tokens: 31 }] });
  });

  test('fewer than 16 tokens of a block are not looked for', () => {
    const turn = fresh(64);
    owners.cache(1, turn);
    expect(owners.match(joined(turn.subarray(0, 47), fresh(20)))).toBe(32);
    expect(owners.match(joined(turn.subarray(0, 48), fresh(20)))).toBe(48);
  });

  test('a tail that nobody holds and that matches whole is taken over', () => {
    const turn = fresh(55);
    owners.cache(1, turn);
    expect(owners.admit(2, joined(turn, fresh(40)))).toEqual({ cached: 55, copies: [] });
    expect([...kv.blocks(2)]).toEqual([0, 1, 2]);
  });

  test('a tail that a live sequence writes is copied', () => {
    const turn = fresh(55);
    owners.admit(1, turn);
    owners.commit(1);
    expect(owners.admit(2, joined(turn, fresh(4)))).toEqual({ cached: 55, copies: [{ from: 1, to: 2, tokens: 23 }] });
  });

  test('with no other block left, the one that matches in part begins the new sequence where it is', () => {
    open(2);
    const turn = fresh(64);
    owners.cache(1, turn);
    expect(owners.admit(2, joined(turn.subarray(0, 50), fresh(14)))).toEqual({ cached: 50, copies: [] });
    expect([...kv.blocks(2)]).toEqual([0, 1]);
    expect(owners.match(turn)).toBe(50);
  });

  test('tenants with different salts share nothing, also no part', () => {
    const tokens = fresh(60);
    owners.cache(1, tokens, { salt: 'one' });
    expect(owners.match(tokens, 'two')).toBe(0);
    expect(owners.match(tokens)).toBe(0);
    expect(owners.match(tokens, 'one')).toBe(59);
  });

  test('only committed tokens are reused, whatever was run', () => {
    const tokens = fresh(60);
    owners.admit(1, tokens);
    kv.commit(1, tokens, 40);
    expect(owners.match(tokens)).toBe(32);
    kv.commit(1, tokens, 50);
    expect(owners.match(tokens)).toBe(50);
    expect(() => kv.commit(1, tokens, 49)).toThrow('commits 49 tokens after 50');
    expect(() => kv.commit(1, fresh(65), 65)).toThrow('in 2 blocks');
  });
});

describe('eviction', () => {
  test('least recently used first, each from its tail', () => {
    const [a, b] = [fresh(96), fresh(96)];
    // Used again: a's head. Two blocks are free, then a's old tail goes, then b's, tail first.
    const lost = [32, 64, 96, 128, 160].map((length) => {
      open(8);
      owners.cache(1, a);
      owners.cache(2, b);
      owners.cache(3, joined(a.subarray(0, 64), fresh(1)));
      owners.admit(4, fresh(length));
      return [owners.match(joined(a, fresh(1))), owners.match(joined(b, fresh(1)))];
    });
    expect(lost).toEqual([
      [96, 96],
      [96, 96],
      [64, 96],
      [64, 64],
      [64, 32],
    ]);
  });

  test('reserve fails only when every other block is held, and changes nothing then', () => {
    owners.cache(1, fresh(128));
    owners.admit(2, fresh(20));
    const before = kv.blocks(2);
    expect(kv.reserve(2, 8 * 32 + 1)).toBe(false);
    expect(kv.usage()).toMatchObject({ live: 32, cached: 128 });
    expect(kv.blocks(2)).toBe(before);
    expect(kv.reserve(2, 8 * 32)).toBe(true);
    expect(kv.usage()).toMatchObject({ live: 256, cached: 0 });
    expect([...before]).toHaveLength(1);
    expect(owners.admit(3, fresh(1))).toBeNull();
  });
});

describe('quarantine', () => {
  test('blocks rest until the last plan that may write them has retired; their content is shared', () => {
    open(3);
    const tokens = fresh(85);
    owners.admit(1, tokens);
    owners.commit(1);
    kv.release(1, 7);
    kv.retire(6);
    expect(kv.usage()).toMatchObject({ live: 96, cached: 0 });
    expect(owners.admit(2, fresh(1))).toBeNull();
    expect(owners.admit(2, tokens.subarray(0, 64))).toBeNull();
    expect(owners.match(tokens)).toBe(84);
    kv.retire(7);
    expect(kv.usage()).toMatchObject({ live: 0, cached: 96 });
    expect(owners.admit(2, joined(tokens, fresh(1)))).toEqual({ cached: 85, copies: [] });
  });

  test('a shared block lives on with the other sequence', () => {
    const system = fresh(32);
    owners.admit(1, joined(system, fresh(1)));
    owners.commit(1);
    owners.admit(2, joined(system, fresh(1)));
    kv.release(1, 0);
    expect(kv.usage()).toMatchObject({ live: 64, cached: 0 });
    expect(() => kv.release(1, 0)).toThrow('sequence 1 holds no blocks');
    kv.release(2, 0);
    expect(kv.usage()).toMatchObject({ live: 0, cached: 32 });
  });
});

test('clear forgets what no live sequence holds', () => {
  const [a, b, c] = [fresh(40), fresh(64), fresh(40)];
  owners.cache(1, a);
  owners.admit(2, b);
  owners.commit(2);
  owners.admit(3, c);
  owners.commit(3);
  kv.release(3, 5);
  kv.clear();
  expect([a, b, c].map((tokens) => owners.match(tokens))).toEqual([0, 63, 0]);
  kv.retire(5);
  expect(kv.usage()).toMatchObject({ live: 64, cached: 0 });
});

test('blocks hold whole pieces', () => {
  expect(() => new BlockPool({ blocks: 2, blockSize: 40 })).toThrow('not a multiple of 16');
});
