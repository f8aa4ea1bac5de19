import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { readModelConfig } from '../../../gpu-worker/model/config.ts';
import { kvBytesPerToken, KvSlots } from '../../../gpu-worker/model/kv-slots.ts';
import { Memory } from '../../../gpu-worker/model/runtime/memory.ts';
import { fixture } from './plans.ts';

/** Bytes of memory of its own that the process has in use, swapped out or not. */
function residentBytes(): number {
  const status = readFileSync('/proc/self/status', 'utf8');
  const of = (name: string) => Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(status)?.[1]) * 1024;
  return of('RssAnon') + of('VmSwap');
}

test('discarded memory reads as zero by whole pages, its edges keep their bytes', () => {
  const memory = Memory.allocate(5 * 65_536);
  const bytes = new Uint8Array(memory.buffer).fill(7);
  memory.discard(65_536 - 1, 4 * 65_536 + 1);
  expect([bytes[65_535], bytes[65_536], bytes[4 * 65_536 - 1], bytes[4 * 65_536]]).toEqual([7, 0, 0, 7]);
  memory.discard(1, 2);
  expect(bytes[1]).toBe(7);
  memory.free();
});

const rounded = Float32Array.from({ length: 2 * 2 * 32 }, (_, i) => (1 + i) / 1000);

test.each([
  ['float32', null],
  ['int8', rounded],
] as const)('%s: a drop gives the memory of its positions back', (type, scales) => {
  const config = { ...readModelConfig(fixture('tiny-llama')), layers: 2, kvHeads: 2, headDim: 16 };
  const tokens = type === 'int8' ? 262_144 : 65_536;
  const kv = new KvSlots(config, { slots: 3, capacity: tokens, scales });
  const whole = tokens * kvBytesPerToken(config, type);
  kv.willWrite(0, 0, tokens);
  kv.wrote(0, tokens);
  const before = residentBytes();
  kv.copy({ from: 0, to: 1, tokens });
  expect(residentBytes() - before).toBeGreaterThan(0.9 * whole);
  kv.drop({ block: 1, tokens: tokens / 2 });
  expect(kv.used[1]).toBe(tokens / 2);
  expect((residentBytes() - before) / whole).toBeCloseTo(0.5, 1);
  kv.drop({ block: 1, tokens: 0 });
  expect((residentBytes() - before) / whole).toBeCloseTo(0, 1);
  expect([...kv.used]).toEqual([tokens, 0, 0]);
  kv.free();
});

test('an int8 cache is a quarter of a float32 one; what it holds is copied from slot to slot', () => {
  const config = { ...readModelConfig(fixture('tiny-llama')), layers: 2, kvHeads: 2, headDim: 16 };
  expect(kvBytesPerToken(config, 'int8') * 4).toBe(kvBytesPerToken(config));
  const kv = new KvSlots(config, { slots: 3, capacity: 8, scales: rounded });
  const source = Float32Array.from({ length: 2 * 8 * 16 }, (_, i) => Math.sin(i) / 100);
  kv.round({ place: 3, slot: 0, from: 2, to: 7 }, source);
  kv.copy({ from: 0, to: 2, tokens: 6 });
  const copied = new Float32Array(source.length);
  kv.expand({ place: 3, slot: 2, from: 2, to: 8 }, copied);
  for (let i = 0; i < source.length; i++) {
    const position = Math.floor(i / 16) % 8;
    const channel = Math.floor(i / 128) * 16 + (i % 16);
    const scale = rounded[3 * 32 + channel] ?? NaN;
    const held = position >= 2 && position < 6;
    expect(Math.abs((copied[i] ?? NaN) - (held ? (source[i] ?? NaN) : 0))).toBeLessThanOrEqual(
      held ? scale / 2 + 1e-9 : 0,
    );
  }
  expect(() => kv.floats({ place: 0, slot: 0, from: 0, to: 1 }, 0)).toThrow('no float32 at place 0');
  expect(() => new KvSlots(config, { slots: 1, capacity: 8 }).scale(0)).toThrow('of a float32 cache');
  kv.free();
});

test('ranges of slots give the same tensors while they are in use, and a bounded number is kept', () => {
  const kv = new KvSlots(readModelConfig(fixture('tiny-llama')), { slots: 40, capacity: 16 });
  const first = kv.tensors(0, 4);
  expect(first).toHaveLength(4);
  expect(kv.tensors(0, 4)).toBe(first);
  for (let from = 0; from < 20; from++) for (let count = 1; count <= 20; count++) kv.tensors(from, count);
  expect(kv.tensors(0, 4)).not.toBe(first);
  kv.free();
});
