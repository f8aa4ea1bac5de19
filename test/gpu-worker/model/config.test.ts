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
    const config = parseModelConfig(llama, undefined);
    expect(config).toMatchObject({
      headDim: 16,
      attentionScale: 0.25,
      attentionSoftcap: null,
      qkvBias: false,
      tiedEmbeddings: false,
      eosIds: [],
    });
    const plain = { window: null, rope: { theta: 10_000, dims: 16, scaling: null } };
    expect(config.attention).toEqual([plain, plain]);
    expect(config.attention[0]).toBe(config.attention[1]);
  });

  test('rotary settings in the old and the new place', () => {
    const scaling = { factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 64 };
    const old = parseModelConfig(
      { ...llama, rope_theta: 5e5, rope_scaling: { rope_type: 'llama3', ...scaling } },
      undefined,
    );
    const rope = { rope_type: 'llama3', rope_theta: 5e5, ...scaling };
    const current = parseModelConfig({ ...llama, rope_parameters: rope }, undefined);
    expect(old.attention[0]?.rope).toEqual({
      theta: 5e5,
      dims: 16,
      scaling: { type: 'llama3', factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 64 },
    });
    expect(current).toEqual(old);
  });

  test('end-of-sequence ids: generation_config.json wins, one or many', () => {
    const config = { ...llama, eos_token_id: 2 };
    expect(parseModelConfig(config, undefined).eosIds).toEqual([2]);
    expect(parseModelConfig(config, {}).eosIds).toEqual([2]);
    expect(parseModelConfig(config, { eos_token_id: [3, 4] }).eosIds).toEqual([3, 4]);
    for (const eos_token_id of [null, []]) expect(parseModelConfig(config, { eos_token_id }).eosIds).toEqual([2]);
  });

  test('end-of-sequence ids that can never be drawn are left out', () => {
    const ids = (eos_token_id: number | number[], generation?: object) =>
      parseModelConfig({ ...llama, eos_token_id }, generation).eosIds;
    expect([ids(-1), ids(512), ids([511, -1, 600])]).toEqual([[], [], [511]]);
    expect(ids(2, { eos_token_id: -1 })).toEqual([2]);
  });

  test('null is as good as left out, but where it says that there is none', () => {
    const nulls = Object.fromEntries(
      [
        ...[
          'rms_norm_eps',
          'attention_bias',
          'mlp_bias',
          'hidden_act',
          'hidden_activation',
          'rope_theta',
          'rope_scaling',
        ],
        ...['tie_word_embeddings', 'text_config', 'query_pre_attn_scalar', 'rope_local_base_freq', 'head_dim'],
        ...['sliding_window_pattern', 'no_rope_layer_interval', 'layer_types', 'quantization_config', 'eos_token_id'],
      ].map((name) => [name, null]),
    );
    for (const model_type of ['llama', 'qwen3', 'gemma2', 'gemma3_text', 'smollm3', 'phi3']) {
      const { rms_norm_eps: _, ...config } = { ...llama, model_type };
      expect(parseModelConfig({ ...config, ...nulls }, undefined), model_type).toEqual(
        parseModelConfig(config, undefined),
      );
    }
    const uncapped = { ...llama, model_type: 'gemma2', attn_logit_softcapping: null, final_logit_softcapping: null };
    expect(parseModelConfig(uncapped, undefined)).toMatchObject({ attentionSoftcap: null, logitSoftcap: null });
    const rope_scaling = {
      rope_type: 'linear',
      factor: 2,
      rope_theta: null,
      low_freq_factor: null,
      short_factor: null,
    };
    expect(parseModelConfig({ ...llama, rope_scaling }, undefined).attention[0]?.rope).toEqual({
      ...{ theta: 10_000, dims: 16 },
      scaling: { type: 'linear', factor: 2 },
    });
  });

  test('biases: qwen2 always on query, key and value, others as attention_bias and mlp_bias say', () => {
    const of = (change: object) => parseModelConfig({ ...llama, ...change }, undefined);
    expect(of({ model_type: 'qwen2' })).toMatchObject({ qkvBias: true, outBias: false, mlpBias: false });
    expect(of({ attention_bias: true, mlp_bias: true })).toMatchObject({ qkvBias: true, outBias: true, mlpBias: true });
  });

  test.each([
    [
      'an unknown family',
      { model_type: 'mamba' },
      'model_type = mamba cannot be served; supported: llama, mistral, qwen2',
    ],
    ['a missing field', { vocab_size: undefined }, 'vocab_size'],
    ['a field of the wrong type', { hidden_size: '128' }, 'hidden_size'],
    ['heads that do not group', { num_key_value_heads: 3 }, 'num_key_value_heads = 3'],
    ['a head size the kernel refuses', { head_dim: 20 }, 'head_dim = 20'],
    ['unknown rotary scaling', { rope_scaling: { rope_type: 'mrope' } }, 'rope_type = mrope'],
    ['incomplete rotary scaling', { rope_scaling: { rope_type: 'llama3', factor: 2 } }, 'llama3 needs it'],
    ['LongRoPE with too few factors', { rope_scaling: { type: 'su', short_factor: [1], long_factor: [1] } }, 'needs 8'],
    ['odd partial rotation', { partial_rotary_factor: 0.4 }, 'partial_rotary_factor = 0.4'],
    ['another activation', { hidden_act: 'gelu' }, 'hidden_act = gelu'],
    ['a property of every object as activation', { hidden_act: 'constructor' }, 'hidden_act = constructor'],
    ['too few layer types', { layer_types: ['full_attention'] }, 'layer_types = 1 entries'],
    [
      'a kind of layer we have not',
      { model_type: 'gemma2', layer_types: ['full_attention', 'mamba'] },
      'layer_types.1 = mamba',
    ],
    [
      'an encoder',
      { model_type: 'gemma3_text', use_bidirectional_attention: true },
      'use_bidirectional_attention = true',
    ],
  ])('%s is refused by name', (_, change, message) => {
    expect(() => parseModelConfig({ ...llama, ...change }, undefined)).toThrow(message);
  });

  test.each(['gptq', 'awq', 'fp8', 'bitsandbytes', 'compressed-tensors'])(
    '%s checkpoints: what to give instead',
    (method) => {
      const quantized = { ...llama, quantization_config: { quant_method: method, bits: 4 } };
      expect(() => parseModelConfig(quantized, undefined)).toThrow(
        `quantization_config.quant_method = ${method} cannot be served; give the checkpoint it was made from`,
      );
    },
  );
});

describe('layers', () => {
  const attention = (change: object) =>
    parseModelConfig({ ...llama, num_hidden_layers: 6, ...change }, undefined).attention;
  const windows = (change: object) => attention(change).map(({ window }) => window);

  test('llama has no windows; mistral and phi3 have one everywhere, unless it is null or as long as the context', () => {
    expect(windows({ sliding_window: 8 })).toEqual(Array(6).fill(null));
    for (const model_type of ['mistral', 'phi3']) {
      expect(windows({ model_type, sliding_window: 8 })).toEqual(Array(6).fill(8));
      expect(windows({ model_type, sliding_window: null })).toEqual(Array(6).fill(null));
      expect(windows({ model_type, sliding_window: 256 })).toEqual(Array(6).fill(null));
    }
    expect(windows({ model_type: 'mistral', max_position_embeddings: 8192 })).toEqual(Array(6).fill(4096));
  });

  test('qwen: from max_window_layers on, or as layer_types say, only when switched on', () => {
    const config = { model_type: 'qwen3', sliding_window: 8, max_window_layers: 4 };
    expect(windows(config)).toEqual(Array(6).fill(null));
    expect(windows({ ...config, use_sliding_window: true })).toEqual([null, null, null, null, 8, 8]);
    const layer_types = Array.from({ length: 6 }, (_, i) => (i === 1 ? 'sliding_attention' : 'full_attention'));
    expect(windows({ ...config, use_sliding_window: true, layer_types })).toEqual([null, 8, null, null, null, null]);
  });

  test('gemma: every second or sixth layer is global; gemma 3 rotates local layers by another base', () => {
    expect(windows({ model_type: 'gemma2', sliding_window: 8 })).toEqual([8, null, 8, null, 8, null]);
    const rope_scaling = { rope_type: 'linear', factor: 8 };
    const local = { window: 8, rope: { theta: 10_000, dims: 256, scaling: null } };
    const global = { window: null, rope: { theta: 1e6, dims: 256, scaling: { type: 'linear', factor: 8 } } };
    expect(attention({ model_type: 'gemma3_text', sliding_window: 8, rope_scaling })).toEqual([
      ...Array(5).fill(local),
      global,
    ]);
    const rope_parameters = {
      full_attention: { rope_theta: 1e6, ...rope_scaling },
      sliding_attention: { rope_type: 'default', rope_theta: 1e4 },
    };
    const current = attention({ model_type: 'gemma3_text', sliding_window: 8, rope_parameters });
    expect(current).toEqual([...Array(5).fill(local), global]);
    expect(current[0]).toBe(current[4]);
  });

  test('gemma3: what the published file of the 4B model says of its text part is enough', () => {
    const text_config = { hidden_size: 2560, intermediate_size: 10_240, num_hidden_layers: 34, sliding_window: 1024 };
    const rope_scaling = { factor: 8, rope_type: 'linear' };
    const config = { model_type: 'gemma3', eos_token_id: [1, 106], text_config: { ...text_config, rope_scaling } };
    expect(parseModelConfig(config, undefined)).toMatchObject({
      ...{ vocabSize: 262_208, heads: 8, kvHeads: 4, headDim: 256, maxPositions: 131_072, eosIds: [1, 106] },
      ...{ attentionScale: 1 / 16, tiedEmbeddings: true, activation: 'gelu-tanh', layers: 34 },
    });
  });

  test('smollm3: every fourth layer does not rotate, or those that no_rope_layers marks 0', () => {
    const rotates = (change: object) =>
      attention({ model_type: 'smollm3', ...change }).map(({ rope }) => rope !== null);
    expect(rotates({})).toEqual([true, true, true, false, true, true]);
    expect(rotates({ no_rope_layers: [0, 1, 1, 1, 1, 0] })).toEqual([false, true, true, true, true, false]);
  });

  test('YaRN stretches the context; dynamic scaling begins where the context ends', () => {
    const yarn = { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 256 };
    const config = parseModelConfig({ ...llama, rope_scaling: yarn }, undefined);
    expect(config.maxPositions).toBe(1024);
    expect(config.attention[0]?.rope?.scaling).toMatchObject({ attentionFactor: 0.1 * Math.log(4) + 1, betaFast: 32 });
    const dynamic = attention({ rope_scaling: { type: 'dynamic', factor: 4 } });
    expect(dynamic[0]?.rope?.scaling).toBeNull();
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
