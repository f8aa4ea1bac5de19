import { describe, expect, test } from 'vitest';
import { readModelConfig } from '../../../gpu-worker/model/config.ts';
import { CpuDecoder } from '../../../gpu-worker/model/cpu-decoder.ts';
import { GraphBuilder } from '../../../gpu-worker/model/graph/graph-builder.ts';
import { KvSlots } from '../../../gpu-worker/model/kv-slots.ts';
import { BLOCK_SIZE } from '../../../gpu-worker/model/quantize.ts';
import type { Quantization } from '../../../gpu-worker/model/quantize.ts';
import { RunBuffers } from '../../../gpu-worker/model/run-buffers.ts';
import { Memory } from '../../../gpu-worker/model/runtime/memory.ts';
import { Session } from '../../../gpu-worker/model/runtime/session.ts';
import { openSafetensors } from '../../../gpu-worker/model/safetensors.ts';
import { WeightStore } from '../../../gpu-worker/model/weight-store.ts';
import type { QuantizedMatrix } from '../../../gpu-worker/model/weight-store.ts';
import type { WeightSource } from '../../../gpu-worker/model/weights.ts';
import { fixture, golden, GREEDY, toRow } from './plans.ts';

const ROWS = 48;
const COLUMNS = 96;

/** Deterministic values with a zero block among them. */
const weight = (row: number, column: number): number =>
  row === 3 && column < BLOCK_SIZE ? 0 : Math.sin(row * 12.9898 + column * 78.233) * (1 + (row % 5));

const source: WeightSource = {
  identity: 'test',
  close: () => {},
  readRows: (_name, { columns, first }, target) =>
    target.forEach((_value, i) => (target[i] = weight(first + Math.floor(i / columns), i % columns))),
};

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
  graph.input('x', gather ? 'int64' : 'float32', gather ? [ROWS] : [1, COLUMNS]);
  const outputShape = gather ? [ROWS, COLUMNS] : [1, ROWS];
  graph.output('y', 'float32', outputShape);
  const shared = { block_size: BLOCK_SIZE, bits: matrix.bits };
  graph.node({
    op,
    domain: 'com.microsoft',
    inputs: gather ? ['packed', 'x', 'scales'] : ['x', 'packed', 'scales'],
    outputs: ['y'],
    attributes: gather
      ? { ...shared, gather_axis: 0, quantize_axis: 1 }
      : { ...shared, K: COLUMNS, N: ROWS, accuracy_level: 4 },
  });
  const initializers = new Map([
    ['packed', packed],
    ['scales', matrix.scales],
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

describe.each([
  ['int4', 1 / 8],
  ['int8', 1 / 127],
] as const)('%s', (quantization, step) => {
  const store = new WeightStore(source, quantization);
  const matrix = store.quantized({ name: 'w', parts: [{ tensor: 'w', rows: ROWS }], columns: COLUMNS });
  const rows = runOperator(matrix, 'GatherBlockQuantized', new Float32Array());

  test('ONNX Runtime reads back every weight within one rounding step of its block', () => {
    for (let row = 0; row < ROWS; row++) {
      for (let start = 0; start < COLUMNS; start += BLOCK_SIZE) {
        const exact = Array.from({ length: BLOCK_SIZE }, (_, i) => weight(row, start + i));
        const largest = Math.max(...exact.map(Math.abs));
        exact.forEach((value, i) => {
          // The end of the grid on the side without the largest value is one step short of it.
          const error = Math.abs(value - (rows[row * COLUMNS + start + i] ?? NaN));
          expect(error).toBeLessThanOrEqual(largest * step * 1.0001);
        });
      }
    }
  });

  test('MatMulNBits multiplies by the same values', () => {
    const input = Float32Array.from({ length: COLUMNS }, (_, i) => Math.cos(i));
    const product = runOperator(matrix, 'MatMulNBits', input);
    const exact = Array.from({ length: ROWS }, (_, row) =>
      input.reduce((sum, x, column) => sum + x * (rows[row * COLUMNS + column] ?? NaN), 0),
    );
    const largest = Math.max(...exact.map(Math.abs));
    exact.forEach((value, row) => expect(Math.abs(value - (product[row] ?? NaN)) / largest).toBeLessThan(0.02));
  });
});

/** Probabilities [V] after each of the model's golden prompts. */
function distributions(name: string, quantization: Quantization): number[][] {
  const config = readModelConfig(fixture(name));
  const weights = openSafetensors(fixture(name));
  const store = new WeightStore(weights, quantization);
  const decoder = new CpuDecoder(config, store, config.maxPositions);
  const kv = new KvSlots(config, 1, config.maxPositions);
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
  ['tiny-llama', 'int8', 0.05],
  ['tiny-qwen2', 'int8', 0.05],
  ['tiny-llama-untied', 'int4', 0.35],
] as const)('%s in %s keeps its distributions', (name, quantization, bound) => {
  const quantized = distributions(name, quantization);
  distributions(name, 'none').forEach((exact, prompt) => {
    const distance = exact.reduce((sum, p, id) => sum + Math.abs(p - (quantized[prompt]?.[id] ?? NaN)), 0) / 2;
    expect(distance).toBeGreaterThan(0);
    expect(distance).toBeLessThan(bound);
  });
});
