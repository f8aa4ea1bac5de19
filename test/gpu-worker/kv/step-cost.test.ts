import { expect, test } from 'vitest';
import { BlockPool } from '../../../gpu-worker/kv/block-pool.ts';
import type { KvCache } from '../../../gpu-worker/kv/kv-cache.ts';
import { SlotCache } from '../../../gpu-worker/kv/slot-cache.ts';
import { cpuMs } from '../../support/cpu-time.ts';
import { fresh, joined } from './owners.ts';

const SEQUENCES = 512;
const kinds: Record<string, () => KvCache> = {
  // Room for the live tokens only: every step cuts cached ones.
  slots: () => new SlotCache({ slots: 1024, running: SEQUENCES, slotTokens: 2048, capacityTokens: SEQUENCES * 1100 }),
  blocks: () => new BlockPool({ blocks: SEQUENCES * 5, blockSize: 256 }),
};

test.each(Object.entries(kinds))('%s: a decode step of 512 sequences is booked in under 3 ms', (name, create) => {
  const kv = create();
  const system = fresh(500);
  const sequences = Array.from({ length: 2 * SEQUENCES }, (_each, number) => ({
    number,
    tokens: joined(system, fresh(1500)),
    computed: 1000,
  }));
  const step = (live: typeof sequences) => {
    let booked = 0;
    for (const { number, computed } of live) {
      if (kv.reserve(number, computed + 1)) booked += Math.min(1, kv.blocks(number).length);
    }
    for (const each of live) kv.commit(each.number, each.tokens, ++each.computed);
    kv.takeDrops();
    return booked;
  };
  const begin = (live: typeof sequences) => {
    for (const { number, tokens } of live) {
      expect(kv.admit({ sequence: number, salt: '', tokens: tokens.subarray(0, 1000) }, 1000)).not.toBeNull();
      kv.commit(number, tokens, 1000);
    }
  };
  const [first, second] = [sequences.slice(0, SEQUENCES), sequences.slice(SEQUENCES)];
  begin(first);
  for (const { number } of first) kv.release(number, 0);
  begin(second);
  const steps = Array.from({ length: 60 }, () => {
    return cpuMs(() => expect(step(second)).toBe(SEQUENCES));
  });
  const median = steps.toSorted((a, b) => a - b)[30] ?? Infinity;
  console.log(`${name}: ${median.toFixed(2)} ms a step of ${SEQUENCES} sequences`);
  // The median: the machine has others to serve.
  expect(median).toBeLessThan(3);
  expect(kv.violations()).toEqual([]);
});
