/** Attention over an int8 KV cache against double precision, in every way that a run uses it. */
import { beforeAll, expect, test } from 'vitest';
import { readModelConfig } from '../../../gpu-worker/model/config.ts';
import type { LayerAttention, ModelConfig } from '../../../gpu-worker/model/config.ts';
import { CpuAttention } from '../../../gpu-worker/model/cpu-attention.ts';
import { rotaryTables } from '../../../gpu-worker/model/graph/rotary.ts';
import { fp8Scales, int8Scales, NO_PAIRS, raiseRanges, rotatedPairs } from '../../../gpu-worker/model/kv-ranges.ts';
import { KvSlots } from '../../../gpu-worker/model/kv-slots.ts';
import { Memory } from '../../../gpu-worker/model/runtime/memory.ts';
import { ortLibrary } from '../../../gpu-worker/model/runtime/ort-library.ts';
import { Tensor } from '../../../gpu-worker/model/runtime/session.ts';
import type { ElementType } from '../../../gpu-worker/model/runtime/ort-api.ts';
import type { WeightStore } from '../../../gpu-worker/model/weight-store.ts';
import { seeded } from '../../support/seeded.ts';
import { fixture } from './plans.ts';

const [HEADS, KV_HEADS, HEAD_DIM, CAPACITY, SLOTS] = [6, 2, 16, 200, 3];
const COLUMNS = (HEADS + 2 * KV_HEADS) * HEAD_DIM;
const rope = { theta: 10_000, dims: HEAD_DIM, scaling: null };

beforeAll(() => ortLibrary().shareThreads(1));

function configOf(kind: LayerAttention, softcap: number | null): ModelConfig {
  const shape = { layers: 1, heads: HEADS, kvHeads: KV_HEADS, headDim: HEAD_DIM, attentionScale: 0.25 };
  return { ...readModelConfig(fixture('tiny-llama')), ...shape, attention: [kind], attentionSoftcap: softcap };
}

function tensor(type: ElementType, shape: readonly number[]): { memory: Memory; tensor: Tensor } {
  const memory = Memory.allocate(shape.reduce((product, size) => product * size, 8));
  return { memory, tensor: new Tensor({ pointer: memory.pointer, type, shape }) };
}

const constants: WeightStore = {
  quantization: 'none',
  float32: ({ name }) => expect.unreachable(name),
  quantized: ({ name }) => expect.unreachable(name),
  constant: (_, shape, values) => {
    const { memory } = tensor('float32', shape);
    new Float32Array(memory.buffer).set(values());
    return { pointer: memory.pointer, type: 'float32', shape };
  },
};

class Attention {
  readonly #config: ModelConfig;
  readonly #attention: CpuAttention;
  readonly kv: KvSlots;

  constructor(config: ModelConfig) {
    this.#config = config;
    this.#attention = new CpuAttention(config, constants, { capacity: CAPACITY, kvType: 'int8', longChunk: 32 });
    // Channels of keys differ by a factor of 8, as those of models do.
    const ranges = Float32Array.from({ length: 2 * KV_HEADS * HEAD_DIM }, (_, i) => 1.5 * gain(i));
    this.kv = new KvSlots(config, { slots: SLOTS, capacity: CAPACITY, scales: int8Scales(ranges) });
  }

  /** [B, S, heads × headDim] of sequences in slots from `slot` on that have `starts` tokens. */
  run(qkv: Float32Array, slot: number, starts: readonly number[]): Float32Array {
    const length = qkv.length / COLUMNS / starts.length;
    const input = tensor('float32', [starts.length, length, COLUMNS]);
    new Float32Array(input.memory.buffer).set(qkv);
    const output = tensor('float32', [starts.length, length, HEADS * HEAD_DIM]);
    const [seqlens, total] = [tensor('int32', [starts.length]), tensor('int32', [1])];
    new Int32Array(seqlens.memory.buffer).set(starts.map((start) => start + length - 1));
    new Int32Array(total.memory.buffer).set([Math.max(...starts) + length]);
    const tensors = { qkv: input.tensor, attended: output.tensor, seqlens: seqlens.tensor, total: total.tensor };
    const cache = this.kv.tensors(slot, starts.length);
    this.#attention.attend({ ...tensors, length, slot, start: starts[0] ?? 0, cache }, this.kv, { at: 0, layer: 0 });
    return new Float32Array(output.memory.buffer, 0, starts.length * length * HEADS * HEAD_DIM);
  }

  /** Keys and values [kvHeads, capacity, headDim] of a slot as they are read. */
  stored(slot: number): readonly [Float32Array, Float32Array] {
    const read = (place: number): Float32Array => {
      const whole = new Float32Array(KV_HEADS * CAPACITY * HEAD_DIM);
      this.kv.expand({ place, slot, from: 0, to: CAPACITY }, whole);
      return whole;
    };
    return [read(0), read(1)];
  }

  free(): void {
    this.#attention.release();
    this.kv.free();
  }

  /** One token's attention in double precision. */
  reference(token: Float32Array, position: number, [keys, values]: readonly [Float32Array, Float32Array]): number[] {
    const { attentionScale, attentionSoftcap: cap } = this.#config;
    const [kind] = this.#config.attention;
    const first = kind?.window == null ? 0 : Math.max(0, position + 1 - kind.window);
    return Array.from({ length: HEADS }, (_, head) => {
      const query = rotated(token.subarray(head * HEAD_DIM, (head + 1) * HEAD_DIM), position, kind?.rope != null);
      const kvHead = Math.floor(head / (HEADS / KV_HEADS));
      const at = (all: Float32Array, p: number, i: number) => all[(kvHead * CAPACITY + p) * HEAD_DIM + i] ?? NaN;
      const scores = Array.from({ length: position + 1 - first }, (_, p) => {
        const score = attentionScale * query.reduce((sum, value, i) => sum + value * at(keys, first + p, i), 0);
        return Math.exp(cap === null ? score : cap * Math.tanh(score / cap));
      });
      const all = scores.reduce((sum, score) => sum + score, 0);
      return Array.from({ length: HEAD_DIM }, (_, i) => {
        return scores.reduce((sum, score, p) => sum + (score / all) * at(values, first + p, i), 0);
      });
    }).flat();
  }
}

const tables = rotaryTables(rope, CAPACITY);

function rotated(vector: Float32Array, position: number, turns: boolean): number[] {
  if (!turns) return [...vector];
  const half = HEAD_DIM / 2;
  return Array.from(vector, (value, i) => {
    const [cos, sin] = [tables.cos, tables.sin].map((table) => table[position * half + (i % half)] ?? NaN);
    const other = vector[(i + half) % HEAD_DIM] ?? NaN;
    return value * (cos ?? NaN) + (i < half ? -other : other) * (sin ?? NaN);
  });
}

const gain = (channel: number): number => (channel < KV_HEADS * HEAD_DIM && channel % 8 === 3 ? 8 : 1);

const next = seeded(7);
/** Queries small enough that attention is not all on one token; keys with some large channels. */
function randomTokens(count: number): Float32Array {
  return Float32Array.from({ length: count * COLUMNS }, (_, i) => {
    const channel = (i % COLUMNS) - HEADS * HEAD_DIM;
    return (2 * next() - 1) * (channel < 0 ? 0.5 : gain(channel));
  });
}

function largestError(found: Float32Array, expected: readonly number[]): number {
  expect(found).toHaveLength(expected.length);
  return Math.max(...expected.map((value, i) => Math.abs(value - (found[i] ?? NaN))));
}

const tokenOf = (tokens: Float32Array, i: number): Float32Array => tokens.subarray(i * COLUMNS, (i + 1) * COLUMNS);

test.each([
  ['all before', { window: null, rope }, null],
  ['without rotation', { window: null, rope: null }, null],
  ['a window', { window: 20, rope }, null],
  ['a softcap', { window: null, rope }, 2],
  ['a window and a softcap', { window: 20, rope }, 2],
])('%s: prompts, ragged decodes, drafts and long chunks', (_, kind, softcap) => {
  const attention = new Attention(configOf(kind, softcap));
  const prompts = [70, 5, 31].map(randomTokens);
  prompts.forEach((prompt, slot) => {
    const found = attention.run(prompt, slot, [0]);
    if (slot === 0) return;
    const stored = attention.stored(slot);
    const tokens = prompt.length / COLUMNS;
    const expected = Array.from({ length: tokens }, (_, i) => attention.reference(tokenOf(prompt, i), i, stored));
    expect(largestError(found, expected.flat())).toBeLessThan(1e-5);
  });
  const decodes = randomTokens(3);
  const decoded = attention.run(decodes, 0, [70, 5, 31]);
  const each = [70, 5, 31].map((start, slot) =>
    attention.reference(tokenOf(decodes, slot), start, attention.stored(slot)),
  );
  expect(largestError(decoded, each.flat())).toBeLessThan(1e-5);
  const drafts = randomTokens(4);
  const verified = attention.run(drafts, 1, [6]);
  const four = Array.from({ length: 4 }, (_, i) => attention.reference(tokenOf(drafts, i), 6 + i, attention.stored(1)));
  expect(largestError(verified, four.flat())).toBeLessThan(1e-5);
  // A long chunk sees what is stored before it, and itself as it is.
  const chunk = randomTokens(40);
  const before = attention.stored(0);
  const long = attention.run(chunk, 0, [71]);
  for (let i = 0; i < 40; i++) {
    for (let kvHead = 0; kvHead < KV_HEADS; kvHead++) {
      const [key, value] = [HEADS + kvHead, HEADS + KV_HEADS + kvHead].map((head) =>
        tokenOf(chunk, i).subarray(head * HEAD_DIM, (head + 1) * HEAD_DIM),
      );
      const at = (kvHead * CAPACITY + 71 + i) * HEAD_DIM;
      before[0].set(rotated(key ?? new Float32Array(), 71 + i, kind.rope !== null), at);
      before[1].set(value ?? new Float32Array(), at);
    }
  }
  const forty = Array.from({ length: 40 }, (_, i) => attention.reference(tokenOf(chunk, i), 71 + i, before));
  expect(largestError(long, forty.flat())).toBeLessThan(1e-5);
  // And is stored as near as codes can be.
  const after = attention.stored(0);
  for (const place of [0, 1] as const) {
    const codes = Float32Array.from(after[place], (value, i) => {
      const channel = Math.floor(i / (CAPACITY * HEAD_DIM)) * HEAD_DIM + (i % HEAD_DIM) + place * KV_HEADS * HEAD_DIM;
      return Math.abs(value - (before[place][i] ?? NaN)) / ((1.5 * gain(channel) * 1.25) / 127);
    });
    const [from, to] = [71 * HEAD_DIM, 111 * HEAD_DIM];
    expect(Math.max(...codes.subarray(from, to))).toBeLessThan(0.51);
  }
  attention.free();
});

test.each([null, 20])('a sequence of NaN makes none of another that comes after it (window %s)', (window) => {
  const attention = new Attention(configOf({ window, rope }, null));
  const fill = (count: number) => randomTokens(count);
  attention.run(fill(40), 0, [0]);
  expect(attention.run(fill(60).fill(NaN), 1, [0]).every(Number.isNaN)).toBe(true);
  expect(attention.run(fill(40), 0, [40]).every(Number.isFinite)).toBe(true);
  expect(
    attention
      .run(fill(2), 0, [80, 60])
      .subarray(0, HEADS * HEAD_DIM)
      .every(Number.isFinite),
  ).toBe(true);
  attention.free();
});

test('a pair that turns may become as large as both together', () => {
  const ranges = new Float32Array(6);
  const pairs = rotatedPairs({ window: null, rope: { ...rope, dims: 4 } });
  raiseRanges(ranges, Float32Array.of(3, 1, 4, 0, 0, -2, 0, -5, 0, 0, 7, 1), { headDim: 6, ...pairs });
  expect([...ranges]).toEqual([5, 5, 5, 5, 7, 2]);
  raiseRanges(ranges, Float32Array.of(0, 0, 0, 0, 0, 9), { headDim: 6, ...NO_PAIRS });
  expect([...ranges]).toEqual([5, 5, 5, 5, 7, 9]);
  const heads = new Float32Array(8);
  const apart = rotatedPairs({ window: null, rope: { ...rope, dims: 2 } }, 2);
  raiseRanges(heads, Float32Array.of(3, 1, 4, 0, 6, 0, 8, 2), { headDim: 4, ...apart });
  expect([...heads]).toEqual([5, 1, 5, 0, 10, 0, 10, 2]);
});

test('scales leave room above what was seen', () => {
  const ranges = Float32Array.of(127, 0, 2, 448, 0, 0);
  expect([...int8Scales(ranges)]).toEqual([1.25, 1, Math.fround(2.5 / 127), Math.fround(560 / 127), 1, 1]);
  expect([...fp8Scales(ranges, 2)]).toEqual([Math.fround((127 * 4) / 448), 4, 1]);
});
