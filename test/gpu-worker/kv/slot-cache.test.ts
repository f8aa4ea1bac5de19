import { beforeEach, describe, expect, test } from 'vitest';
import { SlotCache } from '../../../gpu-worker/kv/slot-cache.ts';
import { keepsContract } from './contract.ts';
import { fresh, joined, Owners } from './owners.ts';

keepsContract(
  { kind: 'slots', blocks: 8, blockSize: 160, capacity: 600, longest: 160, running: 5 },
  () => new SlotCache({ slots: 8, running: 5, slotTokens: 160, capacityTokens: 600 }),
  { steps: 55_000, never: [] },
);

let kv: SlotCache;
let owners: Owners;
function open(options: Partial<ConstructorParameters<typeof SlotCache>[0]> = {}): void {
  kv = new SlotCache({ slots: 4, running: 2, slotTokens: 100, capacityTokens: 400, ...options });
  owners = new Owners(kv);
}
beforeEach(() => open());

describe('admission', () => {
  test('takes the lowest slot not in use, and none above the running ones', () => {
    open({ running: 3 });
    for (const sequence of [1, 2, 3]) owners.admit(sequence, fresh(20));
    expect([1, 2, 3].map((sequence) => kv.blocks(sequence)[0])).toEqual([0, 1, 2]);
    expect(owners.admit(4, fresh(20))).toBeNull();
    kv.release(2, 0);
    owners.admit(5, fresh(20));
    expect(kv.blocks(5)[0]).toBe(1);
  });

  test('goes on in place when the target slot holds the prefix', () => {
    const turn = fresh(50);
    owners.cache(1, turn);
    expect(owners.admit(2, joined(turn, fresh(10)))).toEqual({ cached: 50, copies: [] });
    expect(kv.usage()).toMatchObject({ live: 60, cached: 0, queries: 110, hits: 50 });
  });

  test('reuses to the token, up to the last but one', () => {
    const turn = fresh(50);
    owners.cache(1, turn);
    expect(owners.match(joined(turn.subarray(0, 37), fresh(20)))).toBe(37);
    expect(owners.match(turn)).toBe(49);
    expect(owners.match(joined(turn.subarray(0, 15), fresh(20)))).toBe(0);
    expect(owners.match(joined(turn.subarray(0, 16), fresh(20)))).toBe(16);
  });

  test('copies from the committed part of a running sequence', () => {
    const system = fresh(60);
    const first = joined(system, fresh(10));
    owners.admit(1, first);
    kv.commit(1, first, 40);
    const second = joined(system, fresh(5));
    expect(owners.admit(2, second)).toEqual({ cached: 40, copies: [{ from: 0, to: 1, tokens: 40 }] });
  });

  test('moves other content up before the slot is overwritten', () => {
    const [a, b] = [fresh(40), fresh(50)];
    owners.cache(1, a);
    expect(owners.admit(2, b)).toEqual({ cached: 0, copies: [{ from: 0, to: 2, tokens: 40 }] });
    expect(owners.admit(3, joined(a, fresh(1)))).toEqual({ cached: 40, copies: [{ from: 2, to: 1, tokens: 40 }] });
  });

  test('in place of a longer content, the whole of it moves up first', () => {
    const a = fresh(80);
    owners.cache(1, a);
    const other = joined(a.subarray(0, 30), fresh(20));
    expect(owners.admit(2, other)).toEqual({ cached: 30, copies: [{ from: 0, to: 2, tokens: 80 }] });
    expect(owners.match(a)).toBe(79);
  });

  test('moves nothing that another slot holds too', () => {
    const a = fresh(60);
    owners.admit(1, a.subarray(0, 48));
    owners.commit(1);
    owners.admit(2, a);
    owners.commit(2);
    for (const sequence of [1, 2]) kv.release(sequence, 0);
    expect(owners.admit(3, fresh(20))).toEqual({ cached: 0, copies: [] });
    expect(owners.match(a)).toBe(59);
  });

  test('moves nothing for fewer than 16 tokens more than what goes on in place', () => {
    const a = fresh(60);
    owners.cache(1, a);
    const other = joined(a.subarray(0, 45), fresh(5));
    expect(owners.admit(2, other)).toEqual({ cached: 45, copies: [] });
  });

  test('a refuge is the least recently used slot, if it was used before', () => {
    open({ capacityTokens: 1000 });
    const [a, b, c, d] = [fresh(40), fresh(40), fresh(40), fresh(40)];
    for (const [i, tokens] of [a, b, c, d].entries()) owners.cache(i + 1, tokens);
    expect([a, b, c, d].map((tokens) => owners.match(tokens))).toEqual([0, 39, 39, 39]);
    // b and c lie above; d, in slot 0, takes the place of b.
    expect(owners.admit(9, fresh(40))?.copies).toEqual([{ from: 0, to: 3, tokens: 40 }]);
    expect([b, c, d].map((tokens) => owners.match(tokens))).toEqual([0, 39, 39]);
  });

  test('is refused without room, and then nothing has changed', () => {
    open({ capacityTokens: 100 });
    owners.admit(1, fresh(60));
    const before = kv.usage();
    expect(owners.admit(2, fresh(41))).toBeNull();
    expect(kv.usage()).toEqual(before);
    expect(owners.admit(2, fresh(40))).not.toBeNull();
    expect(() => owners.admit(2, fresh(10))).toThrow('sequence 2 is admitted already');
  });
});

describe('capacity', () => {
  test('cuts the least recently used content, from its tail', () => {
    open({ capacityTokens: 200 });
    const [a, b] = [fresh(80), fresh(80)];
    owners.cache(1, a);
    owners.cache(2, b);
    expect(owners.match(a)).toBe(79);
    // a lies in slot 2. 260 tokens would be held: 60 must go, by whole pieces.
    owners.admit(3, fresh(100));
    expect(owners.match(a)).toBe(16);
    expect(owners.match(b)).toBe(79);
    expect(kv.usage()).toMatchObject({ live: 100, cached: 96 });
    expect(kv.takeDrops()).toEqual([{ block: 2, tokens: 16 }]);
  });

  test('drops what was cut or refused, once', () => {
    open({ capacityTokens: 120 });
    const a = fresh(70);
    owners.cache(1, a);
    expect(kv.takeDrops()).toEqual([]);
    owners.admit(2, a.subarray(0, 20));
    expect(kv.reserve(2, 90)).toBe(true);
    kv.commit(2, a, 33);
    kv.release(2, 0);
    expect(kv.takeDrops()).toContainEqual({ block: 0, tokens: 33 });
    expect(kv.takeDrops()).toEqual([]);
  });

  test('reserve fails only when no cache is left to cut, and changes nothing then', () => {
    open({ capacityTokens: 120, slotTokens: 200 });
    owners.cache(1, fresh(60));
    owners.admit(2, fresh(20));
    expect(kv.reserve(2, 121)).toBe(false);
    expect(kv.usage()).toMatchObject({ live: 20, cached: 60 });
    expect(kv.reserve(2, 120)).toBe(true);
    expect(kv.usage()).toMatchObject({ live: 120, cached: 0 });
  });

  test('a slot in use again drops only what is beyond it', () => {
    owners.cache(1, fresh(10));
    owners.admit(2, fresh(30));
    kv.release(2, 0);
    owners.admit(3, fresh(20));
    expect(kv.takeDrops()).toEqual([{ block: 0, tokens: 20 }]);
  });
});

test('tenants with different salts share nothing, also no part', () => {
  const tokens = fresh(60);
  owners.cache(1, tokens, { salt: 'one' });
  expect(owners.match(tokens, 'two')).toBe(0);
  expect(owners.match(tokens)).toBe(0);
  expect(owners.match(tokens, 'one')).toBe(59);
  expect(owners.admit(2, tokens, { salt: 'two' })?.cached).toBe(0);
});

test('only committed tokens are reused, whatever was run', () => {
  const tokens = fresh(60);
  owners.admit(1, tokens);
  kv.commit(1, tokens, 20);
  expect(owners.match(tokens)).toBe(20);
  expect(() => kv.commit(1, tokens, 19)).toThrow('commits 19 tokens after 20');
  expect(() => kv.commit(1, fresh(99), 61)).toThrow('with room for 60');
  kv.release(1, 0);
  expect(owners.match(tokens)).toBe(20);
});

describe('quarantine', () => {
  test('a slot rests until the last plan that may write it has retired; its content is found', () => {
    const tokens = fresh(40);
    owners.admit(1, tokens);
    owners.commit(1);
    kv.release(1, 7);
    kv.retire(6);
    expect(kv.usage()).toMatchObject({ live: 40, cached: 0 });
    expect(kv.takeDrops()).toEqual([]);
    expect(owners.admit(2, tokens)).toEqual({ cached: 39, copies: [{ from: 0, to: 1, tokens: 39 }] });
    expect(owners.admit(3, fresh(5))).toBeNull();
    expect(kv.arrange()).toEqual([]);
    kv.retire(7);
    expect(kv.usage()).toMatchObject({ live: 40, cached: 40 });
    owners.admit(3, fresh(5));
    expect(kv.blocks(3)[0]).toBe(0);
  });

  test('a sequence is released once', () => {
    owners.admit(1, fresh(40));
    kv.release(1, 7);
    expect(() => kv.release(1, 7)).toThrow('sequence 1 holds no slot');
    expect(() => kv.reserve(1, 50)).toThrow('sequence 1 holds no slot');
  });
});

describe('arrange', () => {
  test('moves the highest running sequence into the lowest hole, one a call', () => {
    open({ slots: 5, running: 4 });
    const kept = fresh(30);
    for (const [sequence, tokens] of [fresh(20), kept, fresh(20), fresh(25)].entries()) {
      owners.admit(sequence, tokens);
      owners.commit(sequence);
    }
    kv.release(1, 0);
    // The released content moves away first.
    expect(kv.arrange()).toEqual([
      { from: 1, to: 4, tokens: 30 },
      { from: 3, to: 1, tokens: 25 },
    ]);
    expect([0, 2, 3].map((sequence) => kv.blocks(sequence)[0])).toEqual([0, 2, 1]);
    expect(owners.match(kept)).toBe(29);
    expect(kv.arrange()).toEqual([]);
    expect(kv.takeDrops()).toContainEqual({ block: 3, tokens: 0 });
  });

  test('moves nothing while a slot rests: a plan may be in flight', () => {
    open({ running: 3 });
    for (const sequence of [1, 2, 3]) owners.admit(sequence, fresh(20));
    kv.release(1, 0);
    kv.release(2, 7);
    expect(kv.arrange()).toEqual([]);
    expect(kv.blocks(3)[0]).toBe(2);
    kv.retire(7);
    kv.arrange();
    expect(kv.blocks(3)[0]).toBe(0);
  });

  test('a sequence without a committed token moves without a copy', () => {
    owners.admit(1, fresh(20));
    owners.admit(2, fresh(20));
    kv.release(1, 0);
    expect(kv.arrange()).toEqual([]);
    expect(kv.blocks(2)[0]).toBe(0);
  });
});

test('clear forgets what no live sequence holds, and trusts no earlier drop', () => {
  const [a, b, c] = [fresh(40), fresh(40), fresh(40)];
  owners.cache(1, a);
  owners.admit(2, b);
  owners.commit(2);
  owners.admit(3, c);
  owners.commit(3);
  kv.release(3, 5);
  kv.takeDrops();
  kv.clear();
  expect([a, b, c].map((tokens) => owners.match(tokens))).toEqual([0, 39, 0]);
  expect(kv.takeDrops()).toHaveLength(4);
  kv.retire(5);
  expect(kv.usage()).toMatchObject({ live: 40, cached: 0 });
});
