/** Reads a folder's safetensors, one file or many by index, as a WeightSource. Knows no model. */
import { createHash } from 'node:crypto';
import { closeSync, existsSync, readdirSync } from 'node:fs';
import * as v from 'valibot';
import { checkJson, dictionary } from './checked-json.ts';
import { ModelFolderError, parseModelJson, readModelText, requireModelFile } from './folder.ts';
import { floatReader, isFloatFormat, WIDTHS } from './float-formats.ts';
import type { FloatFormat } from './float-formats.ts';
import { Memory } from './runtime/memory.ts';
import { MAX_TENSORS, readHeader } from './safetensors-header.ts';
import type { TensorEntry } from './safetensors-header.ts';
import type { HalfType, WeightShape, WeightSource } from './weights.ts';

const INDEX = 'model.safetensors.index.json';
const USUAL_FILE = 'model.safetensors';
const MAX_INDEX_BYTES = 8 << 20;
const MAX_FILES = 1024;
/** Of every tensor, this many bytes from either end enter the identity: reading all of a large model would take seconds. */
const IDENTITY_BYTES = 16_384;

const HALF_TYPES: Readonly<Record<FloatFormat, HalfType | null>> = { F32: null, F16: 'float16', BF16: 'bfloat16' };

const isText = (value: unknown): value is string => typeof value === 'string';
const indexSchema = v.object({ weight_map: dictionary(isText, 'must be an object from tensors to files') });

interface StoredTensor extends TensorEntry {
  readonly memory: Memory;
}

/** Throws `ModelFolderError` when a file is not what it claims to be; nothing but headers is read for that. */
export function openSafetensors(folder: string): WeightSource {
  const tensors = new Map<string, StoredTensor>();
  const memories: Memory[] = [];
  try {
    for (const file of safetensorsFiles(folder)) {
      const { memory, entries } = mapFile(folder, file);
      memories.push(memory);
      for (const [name, entry] of entries) {
        if (tensors.has(name)) throw new ModelFolderError(`${file}: tensor ${name} is also in another file`);
        tensors.set(name, { ...entry, memory });
      }
      if (tensors.size > MAX_TENSORS)
        throw new ModelFolderError(`${folder}: more than ${MAX_TENSORS} tensors in its files`);
    }
  } catch (error) {
    for (const memory of memories) memory.free();
    throw error;
  }
  return {
    identity: identityOf(tensors),
    readRows: (name, { first, ...shape }, target) => readRows(tensors.get(name), { name, shape, first }, target),
    storedAs: storedAs(tensors),
    readHalves: (name, { first, type, ...shape }, target) =>
      readHalves(tensors.get(name), { name, shape, first, type }, target),
    close: () => memories.forEach((memory) => memory.free()),
  };
}

/** Names of the folder's weight files: those of its index, the one of the usual name, or its only one. */
export function safetensorsFiles(folder: string): readonly string[] {
  const text = readModelText(folder, INDEX, MAX_INDEX_BYTES);
  if (text !== undefined) {
    const { weight_map: places } = checkJson(INDEX, indexSchema, parseModelJson(INDEX, text));
    const files = [...new Set(Object.values(places))];
    if (files.length > MAX_FILES)
      throw new ModelFolderError(`${INDEX} names ${files.length} files, at most ${MAX_FILES} are accepted`);
    return files;
  }
  const files = existsSync(folder) ? readdirSync(folder).filter((file) => file.endsWith('.safetensors')) : [];
  // Beside it may lie weights in other forms, as in a cache that other programs fill too.
  if (files.includes(USUAL_FILE)) return [USUAL_FILE];
  if (files.length !== 1) {
    throw new ModelFolderError(
      `${folder} holds ${files.length} .safetensors files without an index: give one or ${INDEX}`,
    );
  }
  return files;
}

function mapFile(folder: string, file: string): { memory: Memory; entries: ReadonlyMap<string, TensorEntry> } {
  const open = requireModelFile(folder, file);
  try {
    const entries = readHeader(file, open);
    return { entries, memory: Memory.mapFile(open.descriptor, open.bytes) };
  } finally {
    closeSync(open.descriptor);
  }
}

interface Ask {
  readonly name: string;
  readonly shape: WeightShape;
  readonly first: number;
  /** Values wanted. */
  readonly length: number;
}

/** Where the rows asked for begin, and in which format they are. */
function find(tensor: StoredTensor | undefined, ask: Ask): { buffer: ArrayBuffer; start: number; dtype: FloatFormat } {
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
  if (ask.first * columns + ask.length > rows * columns) throw new RangeError(`rows beyond the end of ${ask.name}`);
  return { buffer: tensor.memory.buffer, start: tensor.offset + ask.first * columns * WIDTHS[dtype], dtype };
}

function readRows(tensor: StoredTensor | undefined, ask: Omit<Ask, 'length'>, target: Float32Array): void {
  const { buffer, start, dtype } = find(tensor, { ...ask, length: target.length });
  floatReader(dtype)(buffer, start, target);
}

function readHalves(
  tensor: StoredTensor | undefined,
  ask: Omit<Ask, 'length'> & { type: HalfType },
  target: Uint16Array,
): boolean {
  const { buffer, start, dtype } = find(tensor, { ...ask, length: target.length });
  if (HALF_TYPES[dtype] !== ask.type) return false;
  const bytes = new Uint8Array(buffer, start, target.byteLength);
  new Uint8Array(target.buffer, target.byteOffset, target.byteLength).set(bytes);
  return true;
}

function storedAs(tensors: ReadonlyMap<string, StoredTensor>): HalfType | null {
  const types = new Set(Array.from(tensors.values(), ({ dtype }) => (isFloatFormat(dtype) ? HALF_TYPES[dtype] : null)));
  const [type = null] = types;
  return types.size === 1 ? type : null;
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
