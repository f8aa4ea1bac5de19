/** Weights of a real model's shape, random and different in every tensor, as fast as memory can be copied. Knows no GPU. */
import { createHash } from 'node:crypto';
import { parseModelConfig } from '../../../gpu-worker/model/config.ts';
import type { ModelConfig } from '../../../gpu-worker/model/config.ts';
import type { QuantizedSource } from '../../../gpu-worker/model/cuda/device-weights.ts';
import { rowsOf } from '../../../gpu-worker/model/weight-plan.ts';
import type { WeightSource } from '../../../gpu-worker/model/weights.ts';
import { Memory } from '../../../gpu-worker/model/runtime/memory.ts';

/** config.json contents of meta-llama/Meta-Llama-3-8B. */
const LLAMA_3_8B = {
  ...{ model_type: 'llama', vocab_size: 128_256, hidden_size: 4096, intermediate_size: 14_336 },
  ...{ num_hidden_layers: 32, num_attention_heads: 32, num_key_value_heads: 8, max_position_embeddings: 8192 },
  ...{ rms_norm_eps: 1e-5, rope_theta: 500_000, tie_word_embeddings: false },
};

/** `layers` and `vocab` shrink it, for smoke runs. */
export function llama8b(layers: number): ModelConfig {
  return parseModelConfig({ ...LLAMA_3_8B, num_hidden_layers: layers }, undefined);
}

/** Random values that tensors are cut from, each at places of its own. */
const POOL_VALUES = 1 << 26;
const ONE = 0x3c00;
/** Uniform in ±0.035: standard deviation 0.02. */
const SPAN = 0.0346;

export function randomHalves(): WeightSource {
  const pool = randomPool();
  return {
    identity: 'random-halves',
    close: () => {},
    readRows: () => {
      throw new Error('read as halves');
    },
    readHalves: (name, { first }, target) => {
      if (name.includes('norm')) {
        target.fill(ONE);
        return true;
      }
      const key = createHash('sha256').update(`${name} ${first}`).digest().readUInt32LE(0);
      const start = key % (POOL_VALUES - target.length);
      target.set(pool.subarray(start, start + target.length));
      return true;
    },
  };
}

function randomPool(): Uint16Array {
  const pool = new Float16Array(POOL_VALUES);
  let state = 12_345;
  for (let i = 0; i < POOL_VALUES; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    pool[i] = (state / 2 ** 31) * SPAN;
  }
  return new Uint16Array(pool.buffer);
}

const BLOCK_SIZE = 32;
const NIBBLES_DEVIATION = 4.61;

/** The matrices of layers and head as random codes, cut from one pool in host memory like the halves. */
export function randomCodes(bits: 4 | 8): QuantizedSource {
  // The head alone has 525 million codes.
  const codes = Memory.allocate(bits * 2 ** 26);
  fillRandomly(new Int32Array(codes.buffer), bits);
  const scales = Memory.allocate(1 << 26);
  const scale = (0.02 / NIBBLES_DEVIATION) * (bits === 4 ? 1 : 1 / 16);
  new Float32Array(scales.buffer).fill(scale);
  return (stack) => {
    const { name, columns } = stack;
    const rows = rowsOf(stack);
    const blocks = columns / BLOCK_SIZE;
    const bytes = (rows * columns * bits) / 8;
    const key = createHash('sha256').update(name).digest().readUInt32LE(0);
    // Aligned as vector instructions want it.
    const start = Math.floor((key % (codes.bytes - bytes)) / 256) * 256;
    return {
      packed: { pointer: codes.pointer + BigInt(start), type: 'uint8', shape: [rows, blocks, (BLOCK_SIZE * bits) / 8] },
      scales: { pointer: scales.pointer, type: 'float32', shape: [rows, blocks] },
      zeroPoints: null,
      bits,
      blockSize: BLOCK_SIZE,
    };
  };
}

function fillRandomly(words: Int32Array, bits: 4 | 8): void {
  let state = 99;
  for (let i = 0; i < words.length; i++) {
    // xorshift32 (Marsaglia): every bit is random enough.
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = bits === 8 ? state : withoutLowest(state);
  }
}

/** Eight codes mean their distance from the middle; the lowest of 16 has no counterpart above and would shift the mean. */
function withoutLowest(codes: number): number {
  const set = codes | (codes >>> 1) | (codes >>> 2) | (codes >>> 3);
  return codes | ((~set & 0x1111_1111) << 3);
}
