import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parseModelConfig } from '../../../gpu-worker/model/config.ts';
import { RANDOM_SHAPES, randomWeights } from '../random-model.ts';
import { blocksOf, float16, writeGguf } from './gguf.ts';

test.each([
  [0, 0],
  [1, 0x3c00],
  [-2, 0xc000],
  [65_504, 0x7bff],
  [1e6, 0x7c00],
  [1 / 3, 0x3555],
  [1e-9, 0],
])('%d as half precision', (value, bits) => expect(float16(value)).toBe(bits));

const toFloat = (bits: number): number =>
  (bits & 0x8000 ? -1 : 1) * (1 + (bits & 1023) / 1024) * 2 ** (((bits >> 10) & 31) - 15);

test.each([
  ['q4_0', 1 / 8],
  ['q8_0', 1 / 127],
] as const)('%s keeps every value within a step of its block', (format, step) => {
  const values = Float32Array.from({ length: 96 }, (_, i) => Math.sin(i * 12.9898) * (1 + (i % 5)));
  const bytes = blocksOf(values, format);
  const blockBytes = bytes.length / 3;
  expect(blockBytes).toBe(format === 'q4_0' ? 18 : 34);
  values.forEach((value, i) => {
    const [start, at] = [Math.floor(i / 32) * blockBytes, i % 32];
    const scale = toFloat(bytes.readUInt16LE(start));
    const code =
      format === 'q8_0'
        ? bytes.readInt8(start + 2 + at)
        : ((bytes.readUInt8(start + 2 + (at % 16)) >> (at < 16 ? 0 : 4)) & 15) - 8;
    const block = values.subarray(i - at, i - at + 32);
    expect(Math.abs(code * scale - value)).toBeLessThan(Math.max(...block.map(Math.abs)) * step * 1.01);
  });
});

test('a file has its magic, its counts, its tensors, and is as long as they say', () => {
  const folder = mkdtempSync(join(tmpdir(), 'gguf-'));
  const config = parseModelConfig({ ...RANDOM_SHAPES['mini-qwen'], vocab_size: 64 }, undefined);
  const tokens = Array.from({ length: 64 }, (_, id) => `t${id}`);
  const vocabulary = { tokens, control: new Set([63]), eosId: 63 };
  const path = join(folder, 'model.gguf');
  writeGguf(path, { config, source: randomWeights(1), vocabulary }, 'q4_0');
  const bytes = readFileSync(path);
  rmSync(folder, { recursive: true });
  expect(bytes.toString('latin1', 0, 4)).toBe('GGUF');
  expect(bytes.readUInt32LE(4)).toBe(3);
  // Embedding and last norm, and twelve of each of two layers.
  expect(Number(bytes.readBigUInt64LE(8))).toBe(2 + 12 * 2);
  for (const name of ['qwen2.block_count', 'token_embd.weight', 'blk.1.attn_q.bias', 'output_norm.weight']) {
    expect(bytes.includes(name)).toBe(true);
  }
  const embedding = bytes.indexOf('token_embd.weight') + 'token_embd.weight'.length;
  expect(bytes.readUInt32LE(embedding)).toBe(2);
  expect([4, 12].map((at) => Number(bytes.readBigUInt64LE(embedding + at)))).toEqual([128, 64]);
  const row = Float32Array.from({ length: 128 });
  randomWeights(1).readRows('model.embed_tokens.weight', { rows: 64, columns: 128, first: 0 }, row);
  expect(bytes.includes(blocksOf(row, 'q4_0'))).toBe(true);
  expect(bytes.length % 32).toBe(0);
});
