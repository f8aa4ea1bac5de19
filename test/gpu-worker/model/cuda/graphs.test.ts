/** The graphs for the GPU as far as a CPU can tell: types and shapes of the whole model, and the draws themselves. */
import { readdirSync } from 'node:fs';
import { expect, test } from 'vitest';
import { readModelConfig } from '../../../../gpu-worker/model/config.ts';
import type { PlanRow } from '../../../../gpu-worker/engine/step-plan.ts';
import { drawGraph } from '../../../../gpu-worker/model/cuda/draw-graphs.ts';
import { packDraws } from '../../../../gpu-worker/model/cuda/draw-inputs.ts';
import { kvScaleShape } from '../../../../gpu-worker/model/cuda/kv-layout.ts';
import { dimensionOrder } from '../../../../gpu-worker/model/cuda/head-order.ts';
import { pagedGraph } from '../../../../gpu-worker/model/cuda/paged-graph.ts';
import type { PagedWeights } from '../../../../gpu-worker/model/cuda/paged-graph.ts';
import { layoutOf } from '../../../../gpu-worker/model/cuda/plan-inputs.ts';
import { Memory } from '../../../../gpu-worker/model/runtime/memory.ts';
import type { ElementType } from '../../../../gpu-worker/model/runtime/ort-api.ts';
import { Session } from '../../../../gpu-worker/model/runtime/session.ts';
import { rowsOf, WeightPlan } from '../../../../gpu-worker/model/weight-plan.ts';
import { Xoshiro128 } from '../../../../gpu-worker/sample/random.ts';
import { fixture, GREEDY } from '../plans.ts';

const MODELS = ['millrace-mini', 'tiny-llama', ...readdirSync(fixture('families')).map((name) => `families/${name}`)];

/** Tensors that nobody reads. */
function emptyWeights(type: ElementType): PagedWeights {
  const { pointer } = Memory.allocate(1 << 30);
  return {
    matrix: (stack) => {
      const rows = rowsOf(stack);
      return { pointer, type, shape: stack.columns === 1 ? [rows] : [rows, stack.columns] };
    },
    transposed: (stack) => ({ pointer, type, shape: [stack.columns, rowsOf(stack)] }),
    quantized: () => null,
    constant: (_, shape) => ({ pointer, type, shape }),
    kvScale: () => ({ pointer, type: 'float32', shape: [1] }),
  };
}

// A graph that is wrong in itself fails before kernels are looked for. With float16 the CPU would insert casts first.
test.each(MODELS)('%s: the graph is sound, what is missing here is a CUDA kernel', (name) => {
  const config = readModelConfig(fixture(name));
  for (const kvType of ['bfloat16', 'float8e4m3fn', 'int8'] as const) {
    const sizes = {
      blockSize: 256,
      words: 1000,
      maxModelLen: 64,
      maxRows: { bfloat16: 64, float8e4m3fn: 256, int8: 32 }[kvType],
    };
    const options = { config, type: 'bfloat16', kvType, ...sizes } as const;
    const weights = emptyWeights('bfloat16');
    const kvScale = (...of: Parameters<typeof weights.kvScale>) => {
      return { ...weights.kvScale(...of), shape: kvScaleShape(config, kvType) };
    };
    const { model, initializers } = pagedGraph(options, { ...weights, kvScale });
    expect(() => new Session(model, { threads: 1, initializers })).toThrow(/Could not find an implementation for/);
  }
});

test('heads turned in part: the reordered dimensions give the same products', () => {
  const [shape, dims] = [{ heads: 2, kvHeads: 1, headDim: 16 }, 12];
  const order = dimensionOrder(shape, dims);
  expect(order.toSorted((a, b) => a - b)).toEqual([...order.keys()]);
  // Values stay where they are.
  expect(order.slice(48)).toEqual(Array.from({ length: 16 }, (_, i) => 48 + i));
  const random = Array.from({ length: 64 }, (_, i) => Math.sin(i * i));
  const turn = (head: readonly number[], position: number, { pairs, apart }: { pairs: number; apart: number }) => {
    const out = [...head];
    for (let i = 0; i < pairs; i++) {
      const [a = 0, b = 0] = [head[i], head[i + apart]];
      const angle = position / 100 ** (i / 6);
      [out[i], out[i + apart]] = [a * Math.cos(angle) - b * Math.sin(angle), a * Math.sin(angle) + b * Math.cos(angle)];
    }
    return out;
  };
  const dot = (a: readonly number[], b: readonly number[]) => a.reduce((sum, each, i) => sum + each * (b[i] ?? 0), 0);
  const product = (packed: readonly number[], how: { pairs: number; apart: number }) =>
    dot(turn(packed.slice(0, 16), 7, how), turn(packed.slice(32, 48), 3, how));
  const moved = order.map((from) => random[from] ?? NaN);
  expect(product(moved, { pairs: 6, apart: 8 })).toBeCloseTo(product(random, { pairs: 6, apart: 6 }), 12);
});

test('with rounded layers the graph is sound as well', () => {
  const weights = emptyWeights('bfloat16');
  const scheme = { bits: 4, blockSize: 32, symmetric: false } as const;
  const plan = new WeightPlan(scheme);
  const quantized: PagedWeights['quantized'] = (stack) => {
    if (!stack.name.includes('.layers.')) return null;
    const { pointer } = weights.matrix(stack);
    const { packed, scales, zeroPoints, ...rest } = plan.quantized(stack);
    const zeros = zeroPoints === null ? null : { ...zeroPoints, pointer };
    return {
      ...rest,
      packed: { ...packed, pointer },
      scales: { ...scales, pointer, type: 'bfloat16' },
      zeroPoints: zeros,
    };
  };
  const config = readModelConfig(fixture('millrace-mini'));
  const sizes = { blockSize: 256, words: 9, maxModelLen: 64, maxRows: 1 };
  const options = { config, type: 'bfloat16', kvType: 'bfloat16', ...sizes } as const;
  const { model, initializers } = pagedGraph(options, { ...weights, quantized });
  expect([...initializers.values()].filter(({ type }) => type === 'uint8')).toHaveLength(2 * 5 * config.layers);
  expect(() => new Session(model, { threads: 1, initializers })).toThrow(/Could not find an implementation for/);
});

interface Drawn {
  readonly tokens: number[];
  readonly checks: number[];
}

function draw(
  model: Uint8Array,
  logits: readonly number[][],
  inputs: Readonly<Record<string, readonly number[]>>,
): Drawn {
  const rows = logits.length;
  const columns = logits[0]?.length ?? 0;
  const session = new Session(model, { threads: 1 });
  const binding = session.bind();
  const memory = Memory.allocate(4 * (rows * (columns + 8) + 64));
  let at = 0;
  const place = (values: readonly number[], type: 'float32' | 'int32', shape: readonly number[]) => {
    const view = { pointer: memory.pointer + BigInt(4 * at), type, shape };
    const target = type === 'float32' ? Float32Array : Int32Array;
    const array = new target(memory.buffer, 4 * at, values.length);
    array.set(values);
    at += values.length;
    return { view, array };
  };
  binding.input('logits', place(logits.flat(), 'float32', [rows, columns]).view);
  for (const [name, values] of Object.entries(inputs)) binding.input(name, place(values, 'float32', [rows, 1]).view);
  const tokens = place(new Array(rows).fill(-1), 'int32', [rows, 1]);
  const checks = place(new Array(rows).fill(-1), 'float32', [rows, 1]);
  binding.output('token', tokens.view);
  binding.output('check', checks.view);
  binding.run();
  const result = { tokens: [...tokens.array], checks: [...checks.array] };
  binding.release();
  session.release();
  memory.free();
  return result;
}

const VOCAB = 700;
/** Row r: token (r × 37) % V is likeliest, all others equal. */
const peaked = (rows: number): number[][] =>
  Array.from({ length: rows }, (_, r) => Array.from({ length: VOCAB }, (_, id) => (id === (r * 37) % VOCAB ? 3 : 0)));

test('greedy draws the likeliest and tells its logit', () => {
  const { tokens, checks } = draw(drawGraph('greedy', VOCAB), peaked(5), {});
  expect(tokens).toEqual([0, 37, 74, 111, 148]);
  expect(checks).toEqual([3, 3, 3, 3, 3]);
});

test('mixed draws each row as its temperature says', () => {
  const flat = Array.from({ length: VOCAB }, () => 1);
  const logits = [...peaked(2), flat, flat];
  const uniforms = { block_uniform: [0.999, 0.999, 0.999, 1e-6], token_uniform: [0.5, 0.5, 1e-6, 0.9999] };
  const { tokens } = draw(drawGraph('mixed', VOCAB), logits, { temperature: [0, 0, 1, 0.5], ...uniforms });
  // Greedy twice; the first token of the last block of 256; the last of the first.
  expect(tokens).toEqual([0, 37, 512, 255]);
});

test.each(['sampled', 'mixed'] as const)('%s follows the softmax at the temperature', (kind) => {
  const rows = 4000;
  const temperature = 0.5;
  const logits = Array.from({ length: VOCAB }, (_, id) => Math.sin(id) - id / 200);
  const uniform = (seed: number) => Array.from({ length: rows }, (_, i) => ((i * seed + 0.5) % rows) / rows);
  const inputs = {
    temperature: new Array<number>(rows).fill(temperature),
    block_uniform: uniform(1),
    token_uniform: uniform(1237),
  };
  const { tokens } = draw(drawGraph(kind, VOCAB), new Array<number[]>(rows).fill(logits), inputs);
  const weights = logits.map((logit) => Math.exp(logit / temperature));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const counts = new Array<number>(VOCAB).fill(0);
  for (const token of tokens) counts[token] = (counts[token] ?? 0) + 1;
  // Evenly spread uniforms: every likely token comes as often as it should, within sampling's reach.
  weights.forEach((weight, id) => {
    const expected = (rows * weight) / total;
    if (expected > 40) expect(Math.abs((counts[id] ?? 0) - expected)).toBeLessThan(5 * Math.sqrt(expected));
  });
});

/** What the GPU is given for a part of decodes at these temperatures, with room for one row more. */
function packedFor(temperatures: readonly number[]) {
  const rows = temperatures.map((temperature, sequence): PlanRow => {
    const sample = { ...GREEDY, temperature };
    return { sequence, blocks: Int32Array.of(sequence), start: 0, ids: Int32Array.of(1), draws: 1, sample };
  });
  const part = { rows: [...rows.keys()], tokens: rows.length, draws: rows.length, width: 1, decode: true };
  const shape = { tokens: rows.length + 1, sequences: rows.length + 1, width: 1, logits: rows.length + 1 };
  const layout = layoutOf(shape, 0);
  const floats = new Float32Array(layout.end).fill(NaN);
  packDraws(
    rows,
    { ...part, longestRow: 1, longestTotal: 1 },
    { floats, layout, shape, random: new Xoshiro128([1, 2, 3, 4]) },
  );
  const read = (at: number, count: number): number[] => [...floats.subarray(at, at + count)];
  return {
    temperature: read(layout.temperature, rows.length + 1),
    block_uniform: read(layout.blockUniform, rows.length),
    token_uniform: read(layout.tokenUniform, rows.length),
  };
}

test('temperatures next to nothing draw the likeliest token, however far logits lie apart', () => {
  // The last of them are no float32 above 0.
  const cold = [1e-5, 1e-30, 1e-37, 1e-38, 1e-40, 1e-50, Number.MIN_VALUE];
  const logits = peaked(cold.length).map((values) => values.map((value) => value * 50));
  const likeliest = logits.map((values) => values.indexOf(150));
  for (const kind of ['sampled', 'mixed'] as const) {
    const { temperature, ...uniforms } = packedFor(cold);
    const { tokens, checks } = draw(drawGraph(kind, VOCAB), logits, {
      temperature: temperature.slice(0, -1),
      ...uniforms,
    });
    expect(tokens).toEqual(likeliest);
    expect(checks.every(Number.isFinite)).toBe(true);
  }
});

test('greedy rows keep their 0, other temperatures are taken as they are, a row that is not there divides by 1', () => {
  expect(packedFor([0, 0.5, 2]).temperature).toEqual([0, 0.5, 2, 1]);
});

const certain = { temperature: [1], block_uniform: [0.5], token_uniform: [0.5] };
const row = (value: (id: number) => number): number[] => Array.from({ length: VOCAB }, (_, id) => value(id));

test('draws are exact beside logits far below, and among forbidden tokens', () => {
  const tokenOf = (kind: 'sampled' | 'mixed', value: (id: number) => number): readonly number[] =>
    draw(drawGraph(kind, VOCAB), [row(value)], certain).tokens;
  for (const kind of ['sampled', 'mixed'] as const) {
    // The first of each block is so low that float32 loses the others beside it.
    expect(tokenOf(kind, (id) => (id % 256 === 0 ? -1e30 : id === 300 ? 20 : 0))).toEqual([300]);
    expect(tokenOf(kind, (id) => (id % 256 === 0 ? -Infinity : id === 300 ? 20 : 0))).toEqual([300]);
  }
  // Two blocks with nothing to draw from.
  expect(tokenOf('mixed', (id) => (id === 699 ? 0 : -Infinity))).toEqual([699]);
});

test.each([NaN, Infinity])('a model that gives %d shows in the check, for one token as for all', (value) => {
  expect(draw(drawGraph('greedy', VOCAB), [row(() => value)], {}).checks).toEqual([value]);
  for (const kind of ['sampled', 'mixed'] as const) {
    for (const bad of [row(() => value), row((id) => (id === 300 ? value : 0))]) {
      const { tokens, checks } = draw(drawGraph(kind, VOCAB), [bad], certain);
      expect(checks[0]).not.toSatisfy(Number.isFinite);
      expect(tokens[0]).toSatisfy((token: number) => token >= 0 && token < VOCAB);
    }
  }
});
