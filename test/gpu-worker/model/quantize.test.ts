import { describe, expect, test } from 'vitest';
import { readModelConfig } from '../../../gpu-worker/model/config.ts';
import { CpuDecoder, planWeights } from '../../../gpu-worker/model/cpu-decoder.ts';
import { GraphBuilder } from '../../../gpu-worker/model/graph/graph-builder.ts';
import { KvSlots } from '../../../gpu-worker/model/kv-slots.ts';
import { openWeights } from '../../../gpu-worker/model/open-weights.ts';
import type { Quantization, QuantizationOptions, Scheme } from '../../../gpu-worker/model/quantize/scheme.ts';
import { schemeName, schemeOf } from '../../../gpu-worker/model/quantize/scheme.ts';
import { RunBuffers } from '../../../gpu-worker/model/run-buffers.ts';
import { Memory } from '../../../gpu-worker/model/runtime/memory.ts';
import { Session } from '../../../gpu-worker/model/runtime/session.ts';
import { openSafetensors } from '../../../gpu-worker/model/safetensors.ts';
import type { StoredWeights } from '../../../gpu-worker/model/stored-weights.ts';
import { WeightPlan } from '../../../gpu-worker/model/weight-plan.ts';
import type { WeightLayout } from '../../../gpu-worker/model/weight-plan.ts';
import type { QuantizedMatrix } from '../../../gpu-worker/model/weight-store.ts';
import type { WeightSource } from '../../../gpu-worker/model/weights.ts';
import { fixture, golden, GREEDY, toRow } from './plans.ts';

const ROWS = 48;
const COLUMNS = 384;

/** Deterministic values with a zero block among them, and rows whose values are all of one sign. */
const weight = (row: number, column: number): number => {
  if (row === 3 && column < 128) return 0;
  const value = Math.sin(row * 12.9898 + column * 78.233) * (1 + (row % 5));
  return row % 7 === 1 ? 0.5 + Math.abs(value) : value;
};

const source: WeightSource = {
  identity: 'test',
  close: () => {},
  readRows: (_name, { columns, first }, target) =>
    target.forEach((_value, i) => (target[i] = weight(first + Math.floor(i / columns), i % columns))),
};

/** Read and rounded into memory, by this thread alone. */
function open(from: WeightSource, scheme: Scheme, layout: WeightLayout): StoredWeights {
  const quantization: Quantization = `int${scheme.bits}`;
  return openWeights(layout, {
    ...{ source: from, folder: null, quantization, cache: null, threads: 1, onProgress: () => {} },
  });
}

/** Runs one operator on one input and returns its float32 output. */
function runOperator(
  matrix: QuantizedMatrix,
  op: 'MatMulNBits' | 'GatherBlockQuantized',
  input: Float32Array,
): Float32Array {
  const graph = new GraphBuilder('test');
  const gather = op === 'GatherBlockQuantized';
  const [rows = 0, blocks = 0, bytes = 0] = matrix.packed.shape;
  const packed = gather ? { ...matrix.packed, shape: [rows, blocks * bytes] } : matrix.packed;
  graph.external('packed', 'uint8', packed.shape);
  graph.external('scales', 'float32', matrix.scales.shape);
  if (matrix.zeroPoints !== null) graph.external('zero_points', 'uint8', matrix.zeroPoints.shape);
  graph.input('x', gather ? 'int64' : 'float32', gather ? [ROWS] : [1, COLUMNS]);
  const outputShape = gather ? [ROWS, COLUMNS] : [1, ROWS];
  graph.output('y', 'float32', outputShape);
  const shared = { block_size: matrix.blockSize, bits: matrix.bits };
  const grid = matrix.zeroPoints === null ? ['scales'] : ['scales', 'zero_points'];
  graph.node({
    op,
    domain: 'com.microsoft',
    inputs: gather ? ['packed', 'x', ...grid] : ['x', 'packed', ...grid],
    outputs: ['y'],
    attributes: gather
      ? { ...shared, gather_axis: 0, quantize_axis: 1 }
      : { ...shared, K: COLUMNS, N: ROWS, accuracy_level: 4 },
  });
  const initializers = new Map([
    ['packed', packed],
    ['scales', matrix.scales],
    ...(matrix.zeroPoints === null ? [] : [['zero_points', matrix.zeroPoints] as const]),
  ]);
  const session = new Session(graph.encode(), { threads: 1, initializers });
  const [x, y] = [Memory.allocate(ROWS * COLUMNS * 8), Memory.allocate(ROWS * COLUMNS * 4)];
  if (gather) new BigInt64Array(x.buffer).set(Array.from({ length: ROWS }, (_, row) => BigInt(row)));
  else new Float32Array(x.buffer).set(input);
  const binding = session.bind();
  binding.input('x', { pointer: x.pointer, type: gather ? 'int64' : 'float32', shape: gather ? [ROWS] : [1, COLUMNS] });
  binding.output('y', { pointer: y.pointer, type: 'float32', shape: outputShape });
  binding.run();
  const result = new Float32Array(y.buffer).slice(0, gather ? ROWS * COLUMNS : ROWS);
  binding.release();
  session.release();
  x.free();
  y.free();
  return result;
}

const SCHEMES: readonly Scheme[] = ([4, 8] as const).flatMap((bits) =>
  [32, 64, 128].flatMap((blockSize) => [true, false].map((symmetric) => ({ bits, blockSize, symmetric }))),
);

describe.each(SCHEMES.map((scheme) => [schemeName(scheme), scheme] as const))('%s', (_, scheme) => {
  const stack = { name: 'w', parts: [{ tensor: 'w', rows: ROWS }], columns: COLUMNS };
  const plan = new WeightPlan(scheme);
  plan.quantized(stack);
  const matrix = open(source, scheme, plan.layout).quantized(stack);
  const rows = runOperator(matrix, 'GatherBlockQuantized', new Float32Array());

  test('ONNX Runtime reads back every block with less error than the plain grid from its largest value has', () => {
    for (let row = 0; row < ROWS; row++) {
      for (let start = 0; start < COLUMNS; start += scheme.blockSize) {
        const exact = Array.from({ length: scheme.blockSize }, (_value, i) => weight(row, start + i));
        const read = exact.map((_value, i) => rows[row * COLUMNS + start + i] ?? NaN);
        // A hair for float32.
        const plain = squaredError(exact, plainGrid(exact, scheme));
        expect(squaredError(exact, read)).toBeLessThanOrEqual(plain * 1.0001 + 1e-9);
      }
    }
  });

  test('MatMulNBits multiplies by the same values', () => {
    const input = Float32Array.from({ length: COLUMNS }, (_, i) => Math.cos(i));
    const product = runOperator(matrix, 'MatMulNBits', input);
    const exact = Array.from({ length: ROWS }, (_, row) =>
      input.reduce((sum, x, column) => sum + x * (rows[row * COLUMNS + column] ?? NaN), 0),
    );
    // Activations are rounded to int8.
    exact.forEach((value, row) => {
      const size = norm(input) * norm(rows.subarray(row * COLUMNS, (row + 1) * COLUMNS));
      expect(Math.abs(value - (product[row] ?? NaN))).toBeLessThan(0.01 * size + 1e-6);
    });
  });
});

const squaredError = (exact: readonly number[], read: readonly number[]): number =>
  exact.reduce((sum, value, i) => sum + (value - (read[i] ?? NaN)) ** 2, 0);

const norm = (values: Float32Array): number => Math.hypot(...values);

/** Rounded to the grid whose end is the value of largest size; with zero points, from the least to the largest value. */
function plainGrid(values: readonly number[], { bits, symmetric }: Scheme): readonly number[] {
  const top = 2 ** bits - 1;
  const [least, most] = [Math.min(0, ...values), Math.max(0, ...values)];
  const largest = most > -least ? most : least;
  const zero = symmetric ? 2 ** (bits - 1) : Math.round((-least * top) / (most - least));
  const scale = symmetric ? -largest / zero : (most - least) / top;
  if (scale === 0) return values.map(() => 0);
  return values.map((value) => (Math.min(top, Math.max(0, Math.round(value / scale + zero))) - zero) * scale);
}

/** Probabilities [V] after each of the model's golden prompts. */
function distributions(name: string, options: QuantizationOptions): number[][] {
  const config = readModelConfig(fixture(name));
  const weights = openSafetensors(fixture(name));
  const layout = planWeights(config, schemeOf(options));
  const from = { source: weights, folder: fixture(name), cache: null, threads: 1, onProgress: () => {} };
  const store = openWeights(layout, { ...from, quantization: options.quantization });
  const decoder = new CpuDecoder(config, store, { capacity: config.maxPositions, kvType: 'float32' });
  const kv = new KvSlots(config, { slots: 1, capacity: config.maxPositions });
  const buffers = new RunBuffers(config, { maxTokens: config.maxPositions, maxRows: 1 });
  const logits = Memory.allocate(config.vocabSize * 4);
  const all = golden(name).logits.map(({ prompt }) => {
    const row = toRow({ slot: 0, start: 0, ids: prompt, sample: GREEDY });
    decoder.run([row], { buffers, kv, logits: logits.pointer, vocabSize: config.vocabSize });
    const powers = Array.from(new Float32Array(logits.buffer), Math.exp);
    const sum = powers.reduce((total, power) => total + power, 0);
    return powers.map((power) => power / sum);
  });
  decoder.release();
  weights.close();
  for (const part of [kv, buffers, logits, store]) part.free();
  return all;
}

// Total variation distance; activations are rounded to int8 too. A wrong layout would give about 1.
test.each([
  ['tiny-llama', { quantization: 'int8' }, 0.05],
  ['tiny-llama', { quantization: 'int8', quantizationSymmetric: false }, 0.05],
  ['tiny-qwen2', { quantization: 'int8' }, 0.05],
  ['tiny-llama-untied', { quantization: 'int4' }, 0.35],
  ['tiny-llama-untied', { quantization: 'int4', quantizationSymmetric: false }, 0.35],
] as const)('%s with %j keeps its distributions', (name, options, bound) => {
  const quantized = distributions(name, options);
  distributions(name, { quantization: 'none' }).forEach((exact, prompt) => {
    const distance = exact.reduce((sum, p, id) => sum + Math.abs(p - (quantized[prompt]?.[id] ?? NaN)), 0) / 2;
    expect(distance).toBeGreaterThan(0);
    expect(distance).toBeLessThan(bound);
  });
});
