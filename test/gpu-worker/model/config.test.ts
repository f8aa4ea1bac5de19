import { describe, expect, test } from 'vitest';
import { parseModelConfig, readModelConfig } from '../../../gpu-worker/model/config.ts';
import { fixture, openFixture } from './plans.ts';

const llama = {
  model_type: 'llama',
  vocab_size: 512,
  hidden_size: 128,
  intermediate_size: 192,
  num_hidden_layers: 2,
  num_attention_heads: 8,
  num_key_value_heads: 2,
  max_position_embeddings: 256,
  rms_norm_eps: 1e-5,
};

describe('config.json', () => {
  test('leaves out what has a default', () => {
    expect(parseModelConfig(llama, undefined)).toMatchObject({
      headDim: 16,
      ropeTheta: 10_000,
      ropeScaling: null,
      qkvBias: false,
      tiedEmbeddings: false,
      eosIds: [],
    });
  });

  test('rotary settings in the old and the new place', () => {
    const scaling = { factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 64 };
    const old = parseModelConfig(
      { ...llama, rope_theta: 5e5, rope_scaling: { rope_type: 'llama3', ...scaling } },
      undefined,
    );
    const rope = { rope_type: 'llama3', rope_theta: 5e5, ...scaling };
    const current = parseModelConfig({ ...llama, rope_parameters: rope }, undefined);
    expect(old.ropeTheta).toBe(5e5);
    expect(old.ropeScaling).toEqual({ factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 64 });
    expect(current).toEqual(old);
  });

  test('end-of-sequence ids: generation_config.json wins, one or many', () => {
    const config = { ...llama, eos_token_id: 2 };
    expect(parseModelConfig(config, undefined).eosIds).toEqual([2]);
    expect(parseModelConfig(config, {}).eosIds).toEqual([2]);
    expect(parseModelConfig(config, { eos_token_id: [3, 4] }).eosIds).toEqual([3, 4]);
  });

  test('qwen2 always has biases on query, key and value', () => {
    expect(parseModelConfig({ ...llama, model_type: 'qwen2' }, undefined).qkvBias).toBe(true);
  });

  test.each([
    ['an unknown family', { model_type: 'mamba' }, 'model_type = mamba cannot be served; supported: llama, qwen2'],
    ['a missing field', { vocab_size: undefined }, 'vocab_size'],
    ['a field of the wrong type', { hidden_size: '128' }, 'hidden_size'],
    ['heads that do not group', { num_key_value_heads: 3 }, 'num_key_value_heads = 3'],
    ['a head size the kernel refuses', { head_dim: 20 }, 'head_dim = 20'],
    ['unknown rotary scaling', { rope_scaling: { rope_type: 'yarn' } }, 'rope_type = yarn'],
    ['incomplete rotary scaling', { rope_scaling: { rope_type: 'llama3', factor: 2 } }, 'llama3 needs'],
    ['biases we do not build', { attention_bias: true }, 'attention_bias = true'],
    ['another activation', { hidden_act: 'gelu' }, 'hidden_act = gelu'],
    ['sliding windows', { use_sliding_window: true }, 'use_sliding_window = true'],
  ])('%s is refused by name', (_, change, message) => {
    expect(() => parseModelConfig({ ...llama, ...change }, undefined)).toThrow(message);
  });
});

describe('folders', () => {
  test('a missing folder says what to give', () => {
    expect(() => readModelConfig(fixture('no-such-model'))).toThrow('give a Hugging Face model folder');
  });

  test('options out of range are named', () => {
    expect(() => openFixture('tiny-llama', { maxNumSeqs: 0 })).toThrow('maxNumSeqs = 0');
    expect(() => openFixture('tiny-llama', { maxModelLen: 1.5 })).toThrow('maxModelLen = 1.5');
  });

  test('the runner reports the model, and a fingerprint of weights and quantization', () => {
    const infos = (['none', 'none', 'int8'] as const).map((quantization) => {
      const runner = openFixture('tiny-llama', { quantization, maxModelLen: 1_000_000 });
      runner.dispose();
      return runner.info;
    });
    expect(infos[0]).toMatchObject({ vocabSize: 512, maxModelLen: 256, maxNumSeqs: 64, eosIds: [1] });
    expect(infos[1]?.fingerprint).toBe(infos[0]?.fingerprint);
    expect(infos[2]?.fingerprint).not.toBe(infos[0]?.fingerprint);
  });
});
