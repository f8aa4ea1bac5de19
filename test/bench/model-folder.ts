/** Writes a random model as a Hugging Face folder, once, into a cache. Knows shapes and file formats, no benchmark. */
import { createHash } from 'node:crypto';
import { existsSync, statSync } from 'node:fs';
import { mkdir, open, rename, rm, writeFile, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseModelConfig, type ModelConfig } from '../../gpu-worker/model/config.ts';
import type { WeightShape } from '../../gpu-worker/model/weights.ts';
import { RANDOM_SHAPES, randomWeights, type RandomShape } from './random-model.ts';
import { END_OF_TURN, tokenizerFiles } from './tokenizer-file.ts';

const CACHE = fileURLToPath(new URL('../../node_modules/.cache/millrace-bench', import.meta.url));
/** Values made and written at a time. */
const CHUNK_VALUES = 1 << 22;
const BF16_BYTES = 2;
const SEED = 1;

interface NamedTensor extends WeightShape {
  readonly name: string;
}

/** The folder of this shape; written where it is missing or incomplete, with lines to `progress`. */
export async function randomModelFolder(
  shape: RandomShape,
  progress: (text: string) => void,
  cache = CACHE,
): Promise<string> {
  const config = { ...RANDOM_SHAPES[shape], torch_dtype: 'bfloat16', eos_token_id: END_OF_TURN };
  const tensors = tensorsOf(parseModelConfig(config, undefined));
  const header = safetensorsHeader(tensors);
  const tokenizer = tokenizerFiles();
  const identity = [JSON.stringify(config), header, randomWeights(SEED).identity, ...Object.values(tokenizer)];
  const folder = join(cache, `${shape}-${createHash('sha256').update(identity.join('\n')).digest('hex').slice(0, 12)}`);
  if (isComplete(folder, header.length + dataBytes(tensors))) return folder;
  // A folder bears its name only once it is whole.
  const partial = `${folder}.partial`;
  for (const old of [folder, partial]) await rm(old, { recursive: true, force: true });
  await mkdir(partial, { recursive: true });
  const files = { 'config.json': JSON.stringify(config), ...tokenizer };
  for (const [name, text] of Object.entries(files)) await writeFile(join(partial, name), text);
  const file = await open(join(partial, 'model.safetensors'), 'w');
  try {
    await file.write(header);
    await writeTensors(file, tensors, progress);
  } finally {
    await file.close();
  }
  await rename(partial, folder);
  return folder;
}

function isComplete(folder: string, bytes: number): boolean {
  const weights = join(folder, 'model.safetensors');
  return existsSync(weights) && statSync(weights).size === bytes;
}

/** Every weight that the model's graph reads, by Hugging Face name. */
function tensorsOf(config: ModelConfig): readonly NamedTensor[] {
  const { hiddenSize, intermediateSize, vocabSize, headDim } = config;
  const names = config.family.tensors;
  const matrix = (name: string, rows: number, columns: number) => ({ name: `${name}.weight`, rows, columns });
  const [queries, keys] = [config.heads * headDim, config.kvHeads * headDim];
  const ofLayer = (layer: number): readonly NamedTensor[] => {
    const at = (pattern: string) => pattern.replace('{}', String(layer));
    const projections = [matrix(at(names.query), queries, hiddenSize)];
    for (const name of [names.key, names.value]) projections.push(matrix(at(name), keys, hiddenSize));
    const biases = projections.map(({ name, rows }) => {
      return { name: name.replace(/weight$/, 'bias'), rows, columns: 1 };
    });
    return [
      matrix(at(names.attentionNorm), hiddenSize, 1),
      ...projections,
      ...(config.qkvBias ? biases : []),
      matrix(at(names.attentionOut), hiddenSize, queries),
      matrix(at(names.mlpNorm), hiddenSize, 1),
      matrix(at(names.gate), intermediateSize, hiddenSize),
      matrix(at(names.up), intermediateSize, hiddenSize),
      matrix(at(names.down), hiddenSize, intermediateSize),
    ];
  };
  return [
    matrix(names.embedding, vocabSize, hiddenSize),
    ...Array.from({ length: config.layers }, (_, layer) => ofLayer(layer)).flat(),
    matrix(names.finalNorm, hiddenSize, 1),
    ...(config.tiedEmbeddings ? [] : [matrix(names.head, vocabSize, hiddenSize)]),
  ];
}

function safetensorsHeader(tensors: readonly NamedTensor[]): Buffer {
  let end = 0;
  const entries = tensors.map(({ name, rows, columns }) => {
    const begin = end;
    end += rows * columns * BF16_BYTES;
    return [name, { dtype: 'BF16', shape: columns === 1 ? [rows] : [rows, columns], data_offsets: [begin, end] }];
  });
  const json = JSON.stringify(Object.fromEntries(entries));
  // Data begins at a multiple of 8, as the format asks; spaces may fill the header.
  const text = Buffer.from(json.padEnd(Math.ceil(json.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text]);
}

async function writeTensors(
  file: FileHandle,
  tensors: readonly NamedTensor[],
  progress: (text: string) => void,
): Promise<void> {
  const weights = randomWeights(SEED);
  const total = dataBytes(tensors);
  let written = 0;
  for (const { name, ...shape } of tensors) {
    const step = Math.max(1, Math.floor(CHUNK_VALUES / shape.columns));
    for (let row = 0; row < shape.rows; row += step) {
      const values = new Float32Array(Math.min(step, shape.rows - row) * shape.columns);
      weights.readRows(name, { ...shape, first: row }, values);
      written += (await file.write(toBfloat16(values))).bytesWritten;
      const percent = Math.floor((written / total) * 20) * 5;
      progress(`writing a random model: ${percent} % of ${(total / 1e6).toFixed(0)} MB`);
    }
  }
}

function dataBytes(tensors: readonly NamedTensor[]): number {
  return tensors.reduce((sum, { rows, columns }) => sum + rows * columns * BF16_BYTES, 0);
}

/** Rounds to the nearest, ties to even. */
function toBfloat16(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const halves = new Uint16Array(values.length);
  for (let i = 0; i < bits.length; i++) {
    const word = bits[i] ?? 0;
    halves[i] = (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  }
  return halves;
}
