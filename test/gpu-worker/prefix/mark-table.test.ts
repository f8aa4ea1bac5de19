/** The table beside the real KV bookkeeping, both kinds: what it says is held is what a request would find. */
import { describe, expect, test } from 'vitest';
import { BlockPool } from '../../../gpu-worker/kv/block-pool.ts';
import type { KvCache } from '../../../gpu-worker/kv/kv-cache.ts';
import { SlotCache } from '../../../gpu-worker/kv/slot-cache.ts';
import { MarkTable } from '../../../gpu-worker/prefix/mark-table.ts';

const CAPACITY = 4096;
const KINDS: readonly [string, () => KvCache][] = [
  ['blocks', () => new BlockPool({ blocks: CAPACITY / 64, blockSize: 64 })],
  ['slots', () => new SlotCache({ slots: 8, running: 4, slotTokens: 1024, capacityTokens: CAPACITY })],
];

/** `length` tokens, the first `shared` of them those of every other prompt. */
function prompt(seed: number, length: number, shared = 0): Int32Array {
  return Int32Array.from({ length }, (_, i) => (i < shared ? i : seed * 100_000 + i));
}

class Table {
  readonly kv: KvCache;
  readonly table: MarkTable;
  readonly held = new Map<string, number>();
  nowMs = 0;
  #requests = 0;

  constructor(kv: KvCache, { maxMarks = 100, maxTokens = 100_000 } = {}) {
    this.kv = kv;
    this.table = new MarkTable({ kv, maxMarks, maxTokens, now: () => this.nowMs });
  }

  /** Computes a whole prompt that is marked every 100 tokens, and ends. */
  run(tokens: Int32Array, name: string, { salt = 's', shared = 0 } = {}): void {
    const sequence = ++this.#requests;
    const marks = Array.from({ length: Math.floor(tokens.length / 100) }, (_, i) => {
      const end = (i + 1) * 100;
      return { hash: `${end <= shared ? 'shared' : name}${end}`, tokens: end };
    });
    const request = { id: `r${sequence}`, cacheSalt: salt, promptIds: tokens, marks };
    this.table.add(request);
    expect(this.kv.admit({ sequence, salt, tokens }, tokens.length)).not.toBeNull();
    this.kv.commit(sequence, tokens, tokens.length);
    this.table.settle(request.id);
    this.kv.release(sequence, 0);
    this.take();
  }

  sweep(): void {
    for (let more = this.table.check(1000, true); more;) more = this.table.check(1000);
    this.take();
  }

  take(): void {
    const changes = this.table.take();
    for (const hash of changes?.evicted ?? []) this.held.delete(hash);
    for (const { hash, tokens } of changes?.stored ?? []) this.held.set(hash, tokens);
    expect([...this.held.keys()]).toHaveLength(this.table.size);
  }
}

describe.each(KINDS)('%s', (_, kv) => {
  test('stored when the prompt is computed, evicted once the cache has given it away', () => {
    const world = new Table(kv());
    world.run(prompt(1, 500), 'a');
    expect(Object.fromEntries(world.held)).toEqual({ a100: 100, a200: 200, a300: 300, a400: 400, a500: 500 });
    for (let i = 2; i < 12; i++) world.run(prompt(i, 900), `other${i}x`);
    world.sweep();
    expect([...world.held.keys()].filter((hash) => hash.startsWith('a'))).toEqual([]);
    expect(world.held.has('other11x900')).toBe(true);
  });

  test('everything it says is held is found, and all that is found is held', () => {
    const world = new Table(kv(), { maxMarks: 1000 });
    let state = 5;
    const random = (below: number) => (state = (state * 48_271) % 2_147_483_647) % below;
    const prompts = new Map<string, Int32Array>();
    for (let i = 0; i < 300; i++) {
      const seed = random(30);
      const tokens = prompt(seed, 100 * (4 + (seed % 6)), 300);
      prompts.set(`p${seed}x`, tokens);
      world.run(tokens, `p${seed}x`, { shared: 300 });
      world.sweep();
      for (const [name, each] of prompts) {
        const matched = world.kv.match({ sequence: 0, salt: 's', tokens: each });
        for (let end = 400; end <= each.length; end += 100) {
          const held = world.held.has(`${name}${end}`);
          if (held) expect(matched).toBeGreaterThanOrEqual(end - 17);
          else expect(matched).toBeLessThan(end);
        }
      }
      expect(world.held.has('shared300')).toBe(true);
    }
  });

  test('another salt shares nothing', () => {
    const world = new Table(kv());
    const tokens = prompt(1, 500);
    world.run(tokens, 'a', { salt: 's' });
    world.table.add({ id: 'x', cacheSalt: 'other', promptIds: tokens, marks: [{ hash: 'o', tokens: 400 }] });
    world.table.settle('x');
    world.take();
    expect(world.held.has('o')).toBe(false);
  });

  test('a cache that was cleared', () => {
    const world = new Table(kv());
    world.run(prompt(1, 500), 'a');
    world.kv.clear();
    world.sweep();
    expect(world.held.size).toBe(0);
  });
});

describe('bounds', () => {
  const everything: Pick<KvCache, 'match'> = { match: ({ tokens }) => tokens.length - 1 };
  const add = (table: MarkTable, name: string, tokens: number) => {
    table.add({ id: name, cacheSalt: 's', promptIds: new Int32Array(tokens), marks: [{ hash: name, tokens }] });
    table.settle(name);
  };

  test('of marks and of tokens: the least recently used go, and count as evicted', () => {
    const table = new MarkTable({ kv: everything, maxMarks: 3, maxTokens: 1000, now: () => 0 });
    for (const name of ['a', 'b', 'c', 'a', 'd']) add(table, name, 100);
    expect(table.take()?.evicted).toEqual(['b']);
    expect(table.size).toBe(3);
    add(table, 'e', 850);
    expect(table.take()?.evicted).toEqual(['c', 'a']);
  });

  test('a round begins once a second and stops at its budget; a new one takes all again', () => {
    let asked = 0;
    let nowMs = 0;
    const kv = { match: ({ tokens }: { tokens: Int32Array }) => (asked++, (nowMs += 1), tokens.length) };
    const table = new MarkTable({ kv, maxMarks: 100, maxTokens: 100_000, now: () => nowMs });
    for (let i = 0; i < 10; i++) add(table, `p${i}`, 100);
    [asked, nowMs] = [0, 0];
    expect(table.check(2)).toBe(true);
    expect(asked).toBe(2);
    expect(table.check(100)).toBe(false);
    expect(asked).toBe(10);
    expect(table.check(100)).toBe(false);
    expect(asked).toBe(10);
    nowMs += 1000;
    expect(table.check(2)).toBe(true);
    table.check(100, true);
    expect(asked).toBe(22);
  });

  test('a request without marks, unknown or settled twice costs nothing and says nothing', () => {
    const table = new MarkTable({ kv: everything, maxMarks: 3, maxTokens: 1000, now: () => 0 });
    table.add({ id: 'none', cacheSalt: 's', promptIds: new Int32Array(100) });
    table.settle('none');
    table.settle('nobody');
    add(table, 'a', 100);
    expect(table.take()).toEqual({ stored: [{ hash: 'a', tokens: 100 }], evicted: [] });
    table.settle('a');
    expect(table.take()).toBeNull();
  });

  test('evicted and stored again between two takes is stored', () => {
    let matched = 100;
    const table = new MarkTable({ kv: { match: () => matched }, maxMarks: 3, maxTokens: 1000, now: () => 0 });
    add(table, 'a', 100);
    table.take();
    matched = 0;
    table.check(1, true);
    matched = 100;
    add(table, 'a', 100);
    expect(table.take()).toEqual({ stored: [{ hash: 'a', tokens: 100 }], evicted: [] });
    matched = 0;
    table.check(1, true);
    expect(table.take()).toEqual({ stored: [], evicted: ['a'] });
  });
});
