/** Who lives: by heartbeats, and by what was found out since. Pure. */
import { expect, test } from 'vitest';
import { Registry } from '../../edge/registry.ts';
import type { Heartbeat } from '../../shared/protocol.ts';

const beat = (worker: string, epoch = 'e1'): Heartbeat => ({
  ...{ v: 1, worker, epoch, models: ['m'], fingerprint: 'f', status: 'ready', created: 1 },
  ...{ limits: { maxSequences: 4, maxModelLen: 100, kvTokens: 400 }, step: { completed: 0, atMs: 0 } },
  load: { running: 0, waiting: 0, queuedPrefillTokens: 0, kvTokens: 0 },
});
const namesOf = (workers: readonly Heartbeat[]) => workers.map(({ worker }) => worker);

test('one that is gone is back with its next heartbeat, which still tells that it has started anew', () => {
  const registry = new Registry();
  expect(registry.see(beat('a'), 0)).toBeNull();
  registry.markGone('a');
  registry.markGone('unknown');
  expect(registry.alive(1)).toEqual([]);
  expect([registry.remembers('m'), registry.remembers('n')]).toEqual([true, false]);
  expect(registry.see(beat('a', 'e2'), 2)).toBe('e1');
  expect(namesOf(registry.ready('m', 3))).toEqual(['a']);
});

test('what has long been silent is forgotten, once', () => {
  const registry = new Registry();
  registry.see(beat('a'), 0);
  registry.see(beat('b'), 500_000);
  expect(registry.forgetStale(599_999)).toEqual([]);
  expect(registry.forgetStale(600_000)).toEqual(['a']);
  expect(registry.forgetStale(600_000)).toEqual([]);
  expect(registry.see(beat('a', 'e2'), 600_001)).toBeNull();
});
