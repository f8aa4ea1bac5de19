/**
 * A layout's weights as a file: safetensors with checksums, data from a page boundary on, so that it can be mapped and
 * used as it is. Knows no cache.
 */
import { closeSync, fstatSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import { Memory } from '../runtime/memory.ts';
import type { PlannedTensor, WeightLayout } from '../weight-plan.ts';

const LENGTH_BYTES = 8;
const PAGE_BYTES = 4096;
/** Raised when the same weights would give other bytes. */
const VERSION = 'millrace-weights-1';
const NO_CHECKSUM = '00000000';
const DTYPES: Readonly<Record<string, string>> = { float32: 'F32', uint8: 'U8' };

export interface MappedWeights {
  readonly memory: Memory;
  /** Where the layout begins in it. */
  readonly start: number;
}

/** Null when the file is not exactly what was asked for: not there, of another version or key, cut short or damaged. */
export function readWeightFile(path: string, layout: WeightLayout, key: string): MappedWeights | null {
  let descriptor: number;
  try {
    descriptor = openSync(path, 'r');
  } catch {
    return null;
  }
  try {
    const start = dataStart(layout, key);
    if (fstatSync(descriptor).size !== start + layout.bytes) return null;
    const memory = Memory.mapFile(descriptor, start + layout.bytes);
    const found = Buffer.from(memory.buffer, 0, start);
    if (found.equals(header(layout, key, checksums(layout, { memory, start })))) return { memory, start };
    memory.free();
    return null;
  } finally {
    closeSync(descriptor);
  }
}

/** `fill` writes the layout from byte `start` of the descriptor on. The file is whole and on disk when it returns. */
export function writeWeightFile(
  path: string,
  to: { layout: WeightLayout; key: string },
  fill: (descriptor: number, start: number) => void,
): void {
  const { layout, key } = to;
  const descriptor = openSync(path, 'wx+', 0o600);
  try {
    const start = dataStart(layout, key);
    // The last byte first: a disk without room says so before the work, and padding reads as zeros.
    writeSync(descriptor, Buffer.alloc(1), 0, 1, start + layout.bytes - 1);
    fill(descriptor, start);
    const memory = Memory.mapFile(descriptor, start + layout.bytes);
    const bytes = header(layout, key, checksums(layout, { memory, start }));
    memory.free();
    writeSync(descriptor, bytes, 0, bytes.length, 0);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function checksums(layout: WeightLayout, { memory, start }: MappedWeights): readonly string[] {
  return tensorsOf(layout).map(({ offset, bytes }) => {
    const sum = crc32(new Uint8Array(memory.buffer, start + offset, bytes));
    return sum.toString(16).padStart(NO_CHECKSUM.length, '0');
  });
}

/** Its length does not depend on the checksums. */
function header(layout: WeightLayout, key: string, crc32s: readonly string[]): Buffer {
  const metadata = { version: VERSION, key, crc32: crc32s.join(' ') };
  const tensors = tensorsOf(layout).map(({ name, type, shape, offset, bytes }) => {
    return [name, { dtype: DTYPES[type] ?? type, shape, data_offsets: [offset, offset + bytes] }];
  });
  const json = Buffer.from(JSON.stringify({ __metadata__: metadata, ...Object.fromEntries(tensors) }));
  const whole = Math.ceil((LENGTH_BYTES + json.length) / PAGE_BYTES) * PAGE_BYTES;
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeBigUInt64LE(BigInt(whole - LENGTH_BYTES));
  return Buffer.concat([length, json, Buffer.alloc(whole - LENGTH_BYTES - json.length, ' ')]);
}

function dataStart(layout: WeightLayout, key: string): number {
  return header(
    layout,
    key,
    tensorsOf(layout).map(() => NO_CHECKSUM),
  ).length;
}

function tensorsOf({ stacks }: WeightLayout): readonly PlannedTensor[] {
  return stacks.flatMap(({ main, scales, zeroPoints }) => [main, scales, zeroPoints].filter((each) => each !== null));
}
