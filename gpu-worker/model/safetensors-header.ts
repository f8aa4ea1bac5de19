/** The header of one safetensors file, checked against the file's size before anything is made from it. Knows no model. */
import * as v from 'valibot';
import { ModelFolderError, parseModelJson, readBytes } from './folder.ts';
import type { OpenFile } from './folder.ts';
import { isFloatFormat, WIDTHS } from './float-formats.ts';

/** Sixty times what 16,384 tensors need. */
const MAX_HEADER_BYTES = 8 << 20;
/** In all files together; Llama 3.1 405B has 1,137. */
export const MAX_TENSORS = 16_384;
/** The length before the header. */
const LENGTH_BYTES = 8;

const natural = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const tensorSchema = v.object({
  dtype: v.pipe(v.string(), v.maxLength(32)),
  shape: v.pipe(v.array(natural), v.maxLength(8)),
  data_offsets: v.tuple([natural, natural]),
});

export interface TensorEntry {
  /** The file's name of the number format; only floats can be read. */
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Of its first byte in the file. */
  readonly offset: number;
  readonly bytes: number;
}

/** Throws `ModelFolderError` unless the tensors fill all of the file, each with its place. Reads the header alone. */
export function readHeader(file: string, { descriptor, bytes }: OpenFile): ReadonlyMap<string, TensorEntry> {
  if (bytes < LENGTH_BYTES) throw new ModelFolderError(`${file} is ${bytes} bytes: not a safetensors file`);
  const headerBytes = Number(readBytes(descriptor, 0, LENGTH_BYTES).readBigUInt64LE());
  const dataStart = LENGTH_BYTES + headerBytes;
  if (headerBytes > MAX_HEADER_BYTES || dataStart > bytes) {
    const most = Math.min(MAX_HEADER_BYTES, bytes - LENGTH_BYTES);
    throw new ModelFolderError(
      `${file}: header of ${headerBytes} bytes, at most ${most} are possible: the file is damaged or cut short`,
    );
  }
  const header = readBytes(descriptor, LENGTH_BYTES, headerBytes);
  refuseManyTensors(file, header);
  const json = parseModelJson(`${file}: header`, header.toString('utf8'));
  if (typeof json !== 'object' || json === null) throw new ModelFolderError(`${file}: header is not an object`);
  const tensors = new Map<string, TensorEntry>();
  for (const [name, value] of Object.entries(json)) {
    if (name !== '__metadata__')
      tensors.set(name, readEntry(`${file}: tensor ${name.slice(0, 256)}`, value, dataStart));
  }
  refuseGaps(file, tensors, { start: dataStart, end: bytes });
  return tensors;
}

/** Before the header becomes objects, many times its size: a tensor is an object with two lists. */
function refuseManyTensors(file: string, header: Uint8Array): void {
  const objects = count(header, '{');
  if (objects > MAX_TENSORS + 2)
    throw new ModelFolderError(`${file}: header of about ${objects} tensors, at most ${MAX_TENSORS} are accepted`);
  const lists = count(header, '[');
  if (lists > 2 * (MAX_TENSORS + 2))
    throw new ModelFolderError(`${file}: header with ${lists} lists for ${objects} tensors: it is damaged`);
}

function count(bytes: Uint8Array, character: string): number {
  const code = character.charCodeAt(0);
  let found = 0;
  for (let at = bytes.indexOf(code); at >= 0; at = bytes.indexOf(code, at + 1)) found++;
  return found;
}

function readEntry(where: string, value: unknown, dataStart: number): TensorEntry {
  const parsed = v.safeParse(tensorSchema, value);
  if (!parsed.success) throw new ModelFolderError(`${where}: malformed header entry`);
  const { dtype, shape, data_offsets: offsets } = parsed.output;
  const [begin, end] = offsets;
  const elements = shape.reduce((product, size) => product * size, 1);
  const bytes = isFloatFormat(dtype) ? elements * WIDTHS[dtype] : end - begin;
  if (begin > end || end - begin !== bytes)
    throw new ModelFolderError(`${where}: data at ${begin}…${end} does not match its shape`);
  return { dtype, shape, offset: dataStart + begin, bytes };
}

/** The format wants tensors side by side from the header to the end of the file. */
function refuseGaps(
  file: string,
  tensors: ReadonlyMap<string, TensorEntry>,
  data: { start: number; end: number },
): void {
  const byOffset = [...tensors].toSorted(([, a], [, b]) => a.offset - b.offset || a.bytes - b.bytes);
  let end = data.start;
  for (const [name, tensor] of byOffset) {
    if (tensor.offset < end) throw new ModelFolderError(`${file}: tensor ${name} overlaps another`);
    if (tensor.offset > end) throw new ModelFolderError(`${file}: no tensor owns the bytes before tensor ${name}`);
    end = tensor.offset + tensor.bytes;
  }
  if (end !== data.end) {
    throw new ModelFolderError(
      `${file}: ${data.end} bytes, its header describes ${end}: the file is damaged or the download incomplete`,
    );
  }
}
