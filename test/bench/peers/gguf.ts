/**
 * Writes a Qwen2 model's weights as GGUF version 3, in llama.cpp's Q4_0 or Q8_0 (as its reference quantizers round), so
 * that it can be measured on the same weights. Source: the GGUF specification in ggml's docs. Knows no benchmark.
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import type { ModelConfig } from '../../../gpu-worker/model/config.ts';
import type { WeightSource } from '../../../gpu-worker/model/weights.ts';

export type GgufFormat = 'q4_0' | 'q8_0';

/** Numbers of ggml's types and of llama.cpp's file types. */
const GGML_TYPES = { f32: 0, q4_0: 2, q8_0: 8 } as const;
const FILE_TYPES = { q4_0: 2, q8_0: 7 } as const;
const VALUE_TYPES = { uint32: 4, int32: 5, float32: 6, string: 8, array: 9 } as const;
const ALIGNMENT = 32;
const BLOCK = 32;
const CHUNK_VALUES = 1 << 20;

/** Numbers of llama.cpp's token kinds. */
const NORMAL_TOKEN = 1;
const CONTROL_TOKEN = 3;

export interface GgufVocabulary {
  /** By id. */
  readonly tokens: readonly string[];
  readonly control: ReadonlySet<number>;
  readonly eosId: number;
}

interface GgufTensor {
  readonly name: string;
  /** Hugging Face's name. */
  readonly source: string;
  readonly rows: number;
  /** 1 = a vector. */
  readonly columns: number;
  readonly type: GgufFormat | 'f32';
  readonly offset: number;
  readonly bytes: number;
}

export function writeGguf(
  path: string,
  model: { config: ModelConfig; source: WeightSource; vocabulary: GgufVocabulary },
  format: GgufFormat,
): void {
  const { config, source, vocabulary } = model;
  if (config.family.name !== 'qwen2') throw new Error(`${config.family.name}: only qwen2 is written as GGUF`);
  const tensors = place(tensorsOf(config, format));
  const head = header(config, vocabulary, { tensors, format });
  const start = align(head.length);
  const descriptor = openSync(path, 'w');
  try {
    writeSync(descriptor, head, 0, head.length, 0);
    for (const tensor of tensors) writeTensor(descriptor, start, { tensor, source });
    const [last] = tensors.slice(-1);
    const end = start + align((last?.offset ?? 0) + (last?.bytes ?? 0));
    writeSync(descriptor, Buffer.alloc(1), 0, 1, end - 1);
  } finally {
    closeSync(descriptor);
  }
}

type Named = readonly [name: string, source: string, rows: number, columns: number];

function tensorsOf(config: ModelConfig, format: GgufFormat): readonly Omit<GgufTensor, 'offset' | 'bytes'>[] {
  const { hiddenSize: hidden, intermediateSize: wide, vocabSize, layers, headDim } = config;
  const names = config.family.tensors;
  const [queries, keys] = [config.heads * headDim, config.kvHeads * headDim];
  const all: Named[] = [['token_embd.weight', `${names.embedding}.weight`, vocabSize, hidden]];
  for (let layer = 0; layer < layers; layer++) {
    const at = (pattern: string, kind: string) => `${pattern.replace('{}', String(layer))}.${kind}`;
    const add = (name: string, pattern: string, rows: number, columns: number) =>
      all.push([
        `blk.${layer}.${name}.${columns === 1 && !name.endsWith('norm') ? 'bias' : 'weight'}`,
        at(pattern, columns === 1 && !name.endsWith('norm') ? 'bias' : 'weight'),
        rows,
        columns,
      ]);
    add('attn_norm', names.attentionNorm, hidden, 1);
    for (const [name, pattern, rows] of [
      ['attn_q', names.query, queries],
      ['attn_k', names.key, keys],
      ['attn_v', names.value, keys],
    ] as const) {
      add(name, pattern, rows, hidden);
      add(name, pattern, rows, 1);
    }
    add('attn_output', names.attentionOut, hidden, queries);
    add('ffn_norm', names.mlpNorm, hidden, 1);
    add('ffn_gate', names.gate, wide, hidden);
    add('ffn_up', names.up, wide, hidden);
    add('ffn_down', names.down, hidden, wide);
  }
  all.push(['output_norm.weight', `${names.finalNorm}.weight`, hidden, 1]);
  if (!config.tiedEmbeddings) all.push(['output.weight', `${names.head}.weight`, vocabSize, hidden]);
  return all.map(([name, source, rows, columns]) => ({
    name,
    source,
    rows,
    columns,
    type: columns === 1 ? 'f32' : format,
  }));
}

function place(tensors: readonly Omit<GgufTensor, 'offset' | 'bytes'>[]): readonly GgufTensor[] {
  let end = 0;
  return tensors.map((tensor) => {
    const offset = align(end);
    const bytes = tensor.rows * rowBytes(tensor.type, tensor.columns);
    end = offset + bytes;
    return { ...tensor, offset, bytes };
  });
}

function rowBytes(type: GgufTensor['type'], columns: number): number {
  if (type === 'f32') return 4 * columns;
  return (columns / BLOCK) * (2 + (type === 'q4_0' ? BLOCK / 2 : BLOCK));
}

const align = (bytes: number): number => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;

type MetadataValue =
  | { readonly uint32: number }
  | { readonly float32: number }
  | string
  | { readonly strings: readonly string[] }
  | { readonly int32s: readonly number[] };

function header(
  config: ModelConfig,
  { tokens, control, eosId }: GgufVocabulary,
  file: { tensors: readonly GgufTensor[]; format: GgufFormat },
): Buffer {
  const metadata: Record<string, MetadataValue> = {
    'general.architecture': 'qwen2',
    'general.name': 'random',
    'general.file_type': { uint32: FILE_TYPES[file.format] },
    'qwen2.block_count': { uint32: config.layers },
    'qwen2.context_length': { uint32: config.maxPositions },
    'qwen2.embedding_length': { uint32: config.hiddenSize },
    'qwen2.feed_forward_length': { uint32: config.intermediateSize },
    'qwen2.attention.head_count': { uint32: config.heads },
    'qwen2.attention.head_count_kv': { uint32: config.kvHeads },
    'qwen2.attention.layer_norm_rms_epsilon': { float32: config.normEpsilon },
    'qwen2.rope.freq_base': { float32: config.attention[0]?.rope?.theta ?? 10_000 },
    'tokenizer.ggml.model': 'gpt2',
    'tokenizer.ggml.pre': 'qwen2',
    'tokenizer.ggml.tokens': { strings: tokens },
    'tokenizer.ggml.token_type': { int32s: tokens.map((_, id) => (control.has(id) ? CONTROL_TOKEN : NORMAL_TOKEN)) },
    // A byte-pair vocabulary must have one; nothing here is encoded by it.
    'tokenizer.ggml.merges': { strings: ['a b'] },
    'tokenizer.ggml.eos_token_id': { uint32: eosId },
  };
  const parts = [Buffer.from('GGUF'), uint32(3), uint64(file.tensors.length), uint64(Object.keys(metadata).length)];
  for (const [name, value] of Object.entries(metadata)) parts.push(string(name), encoded(value));
  for (const { name, rows, columns, type, offset } of file.tensors) {
    const dims = columns === 1 ? [rows] : [columns, rows];
    parts.push(string(name), uint32(dims.length), ...dims.map(uint64), uint32(GGML_TYPES[type]), uint64(offset));
  }
  return Buffer.concat(parts);
}

function encoded(value: MetadataValue): Buffer {
  if (typeof value === 'string') return Buffer.concat([uint32(VALUE_TYPES.string), string(value)]);
  if ('uint32' in value) return Buffer.concat([uint32(VALUE_TYPES.uint32), uint32(value.uint32)]);
  if ('float32' in value) return Buffer.concat([uint32(VALUE_TYPES.float32), float32(value.float32)]);
  if ('strings' in value) return array(VALUE_TYPES.string, value.strings.map(string));
  return array(VALUE_TYPES.int32, value.int32s.map(uint32));
}

function array(type: number, items: readonly Buffer[]): Buffer {
  return Buffer.concat([uint32(VALUE_TYPES.array), uint32(type), uint64(items.length), ...items]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function uint64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function float32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
}

function string(text: string): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([uint64(bytes.length), bytes]);
}

function writeTensor(descriptor: number, start: number, from: { tensor: GgufTensor; source: WeightSource }): void {
  const { source: name, rows, columns, type, offset } = from.tensor;
  const step = Math.max(1, Math.floor(CHUNK_VALUES / columns));
  for (let first = 0; first < rows; first += step) {
    const values = new Float32Array(Math.min(step, rows - first) * columns);
    from.source.readRows(name, { rows, columns, first }, values);
    const bytes = type === 'f32' ? Buffer.from(values.buffer) : blocksOf(values, type);
    writeSync(descriptor, bytes, 0, bytes.length, start + offset + first * rowBytes(type, columns));
  }
}

/** As ggml's quantize_row_q4_0_ref and quantize_row_q8_0_ref: the largest value of a block decides its scale. */
export function blocksOf(values: Float32Array, format: GgufFormat): Buffer {
  const out = Buffer.alloc(rowBytes(format, values.length));
  for (let start = 0, at = 0; start < values.length; start += BLOCK) {
    const block = values.subarray(start, start + BLOCK);
    const largest = block.reduce((best, value) => (Math.abs(value) > Math.abs(best) ? value : best), 0);
    const scale = format === 'q4_0' ? largest / -8 : Math.abs(largest) / 127;
    const inverse = scale === 0 ? 0 : 1 / scale;
    at = out.writeUInt16LE(float16(scale), at);
    if (format === 'q8_0') {
      for (const value of block) at = out.writeInt8(Math.round(value * inverse), at);
      continue;
    }
    const code = (i: number) => Math.min(15, Math.trunc((block[i] ?? 0) * inverse + 8.5));
    for (let i = 0; i < BLOCK / 2; i++) at = out.writeUInt8(code(i) | (code(i + BLOCK / 2) << 4), at);
  }
  return out;
}

const floats = new Float32Array(1);
const words = new Uint32Array(floats.buffer);

/** Rounded to the nearest; below the normal range 0. */
export function float16(value: number): number {
  floats[0] = value;
  const word = words[0] ?? 0;
  const sign = (word >>> 16) & 0x8000;
  const magnitude = word & 0x7fff_ffff;
  if (magnitude >= 0x4780_0000) return sign | 0x7c00;
  if (magnitude < 0x3880_0000) return sign;
  return sign | ((magnitude - 0x3800_0000 + 0x0fff + ((magnitude >>> 13) & 1)) >>> 13);
}
