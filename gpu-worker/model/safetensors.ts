/** Reads a folder's safetensors, one file or many by index, as a WeightSource. Knows no model. */
import { createHash } from 'node:crypto';
import { closeSync, existsSync, fstatSync, openSync, readFileSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import * as v from 'valibot';
import { ModelFolderError } from './folder.ts';
import { floatReader, isFloatFormat, WIDTHS } from './float-formats.ts';
import { Memory } from './runtime/memory.ts';
import type { WeightShape, WeightSource } from './weights.ts';

/** The format's own limit. */
const MAX_HEADER_BYTES = 100_000_000;
const LENGTH_BYTES = 8;
/** Of every tensor, this many bytes from either end enter the identity: reading all of a large model would take seconds. */
const IDENTITY_BYTES = 16_384;

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const tensorSchema = v.object({ dtype: v.string(), shape: v.array(count), data_offsets: v.tuple([count, count]) });
const indexSchema = v.object({ weight_map: v.record(v.string(), v.string()) });

interface StoredTensor {
  /** The file's name of the number format; only floats can be read. */
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly memory: Memory;
  readonly offset: number;
  readonly bytes: number;
}

export function openSafetensors(folder: string): WeightSource {
  const tensors = new Map<string, StoredTensor>();
  const memories: Memory[] = [];
  try {
    for (const file of safetensorsFiles(folder)) {
      const memory = mapFile(join(folder, file));
      memories.push(memory);
      for (const [name, tensor] of readHeader(file, memory)) {
        if (tensors.has(name)) throw new ModelFolderError(`${file}: tensor ${name} is also in another file`);
        tensors.set(name, tensor);
      }
    }
  } catch (error) {
    for (const memory of memories) memory.free();
    throw error;
  }
  return {
    identity: identityOf(tensors),
    readRows: (name, { first, ...shape }, target) => readRows(tensors.get(name), { name, shape, first }, target),
    close: () => memories.forEach((memory) => memory.free()),
  };
}

function safetensorsFiles(folder: string): readonly string[] {
  const index = join(folder, 'model.safetensors.index.json');
  if (existsSync(index)) {
    const parsed = v.safeParse(indexSchema, parseJson('model.safetensors.index.json', readFileSync(index, 'utf8')));
    if (!parsed.success) throw new ModelFolderError('model.safetensors.index.json: weight_map missing or malformed');
    const files = [...new Set(Object.values(parsed.output.weight_map))];
    const outside = files.find((file) => basename(file) !== file);
    if (outside !== undefined)
      throw new ModelFolderError(`model.safetensors.index.json names ${outside}, not in the folder`);
    return files;
  }
  const files = existsSync(folder) ? readdirSync(folder).filter((file) => file.endsWith('.safetensors')) : [];
  if (files.length !== 1) {
    throw new ModelFolderError(
      `${folder} holds ${files.length} .safetensors files without an index: give one or model.safetensors.index.json`,
    );
  }
  return files;
}

function mapFile(path: string): Memory {
  let descriptor: number;
  try {
    descriptor = openSync(path, 'r');
  } catch (error) {
    throw new ModelFolderError(`${path} not readable: the download may be incomplete`, { cause: error });
  }
  try {
    const { size } = fstatSync(descriptor);
    if (size < LENGTH_BYTES) throw new ModelFolderError(`${path} is ${size} bytes: not a safetensors file`);
    return Memory.mapFile(descriptor, size);
  } finally {
    closeSync(descriptor);
  }
}

function readHeader(file: string, memory: Memory): Map<string, StoredTensor> {
  const headerBytes = Number(new DataView(memory.buffer).getBigUint64(0, true));
  const dataStart = LENGTH_BYTES + headerBytes;
  if (headerBytes > MAX_HEADER_BYTES || dataStart > memory.bytes) {
    throw new ModelFolderError(
      `${file}: header of ${headerBytes} bytes does not fit: the file is damaged or cut short`,
    );
  }
  const header = parseJson(file, new TextDecoder().decode(new Uint8Array(memory.buffer, LENGTH_BYTES, headerBytes)));
  if (typeof header !== 'object' || header === null) throw new ModelFolderError(`${file}: header is not an object`);
  const tensors = new Map<string, StoredTensor>();
  for (const [name, value] of Object.entries(header)) {
    if (name !== '__metadata__') tensors.set(name, readTensor({ file, name, value }, memory, dataStart));
  }
  refuseOverlap(file, tensors);
  return tensors;
}

function readTensor(
  entry: { file: string; name: string; value: unknown },
  memory: Memory,
  dataStart: number,
): StoredTensor {
  const where = `${entry.file}: tensor ${entry.name}`;
  const parsed = v.safeParse(tensorSchema, entry.value);
  if (!parsed.success) throw new ModelFolderError(`${where}: malformed header entry`);
  const { dtype, shape, data_offsets: offsets } = parsed.output;
  const [begin, end] = offsets;
  const elements = shape.reduce((product, size) => product * size, 1);
  const bytes = isFloatFormat(dtype) ? elements * WIDTHS[dtype] : end - begin;
  if (begin > end || end - begin !== bytes || dataStart + end > memory.bytes) {
    throw new ModelFolderError(`${where}: data at ${begin}…${end} does not match its shape or the file's size`);
  }
  return { dtype, shape, memory, offset: dataStart + begin, bytes: end - begin };
}

function refuseOverlap(file: string, tensors: ReadonlyMap<string, StoredTensor>): void {
  const byOffset = [...tensors].sort(([, a], [, b]) => a.offset - b.offset || a.bytes - b.bytes);
  let end = 0;
  for (const [name, tensor] of byOffset) {
    if (tensor.offset < end) throw new ModelFolderError(`${file}: tensor ${name} overlaps another`);
    end = tensor.offset + tensor.bytes;
  }
}

function readRows(
  tensor: StoredTensor | undefined,
  ask: { name: string; shape: WeightShape; first: number },
  target: Float32Array,
): void {
  if (tensor === undefined) throw new ModelFolderError(`tensor ${ask.name} is missing from the safetensors files`);
  const [rows = 1, columns = 1, ...more] = tensor.shape;
  const { shape } = ask;
  if (more.length > 0 || rows !== shape.rows || columns !== shape.columns) {
    throw new ModelFolderError(
      `tensor ${ask.name} has shape [${tensor.shape.join(', ')}], config.json implies [${shape.rows}, ${shape.columns}]`,
    );
  }
  const { dtype } = tensor;
  if (!isFloatFormat(dtype)) {
    throw new ModelFolderError(`tensor ${ask.name} is stored as ${dtype}: convert the model to F32, F16 or BF16`);
  }
  const start = tensor.offset + ask.first * columns * WIDTHS[dtype];
  if (ask.first * columns + target.length > rows * columns) throw new RangeError(`rows beyond the end of ${ask.name}`);
  floatReader(dtype)(tensor.memory.buffer, start, target);
}

function identityOf(tensors: ReadonlyMap<string, StoredTensor>): string {
  const hash = createHash('sha256');
  for (const [name, tensor] of [...tensors].sort(([a], [b]) => (a < b ? -1 : 1))) {
    hash.update(`${name} ${tensor.dtype} ${tensor.shape.join('x')}\n`);
    const bytes = Math.min(tensor.bytes, IDENTITY_BYTES);
    hash.update(new Uint8Array(tensor.memory.buffer, tensor.offset, bytes));
    hash.update(new Uint8Array(tensor.memory.buffer, tensor.offset + tensor.bytes - bytes, bytes));
  }
  return hash.digest('hex').slice(0, 16);
}

function parseJson(file: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ModelFolderError(`${file}: not JSON: the file is damaged`, { cause: error });
  }
}
