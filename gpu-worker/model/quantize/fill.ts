/** One piece of the work of reading and rounding weights: rows of a planned stack from a source into place. Knows no threads. */
import { writeSync } from 'node:fs';
import type { PlannedStack, PlannedTensor, WeightLayout } from '../weight-plan.ts';
import { rowsOf } from '../weight-plan.ts';
import type { Stack } from '../weight-store.ts';
import type { WeightSource } from '../weights.ts';
import { quantizeRows } from './rounding.ts';
import { rowBytes } from './scheme.ts';
import type { Scheme } from './scheme.ts';

/** Values of a unit: bounds the memory beside the result, and how long a thread may be alone at the end. */
const UNIT_VALUES = 1 << 20;

/** Rows `first` … `first + count − 1` of a stack. Structured-cloneable. */
export interface FillUnit {
  readonly stack: number;
  readonly first: number;
  readonly count: number;
}

export function fillUnits({ stacks }: WeightLayout): readonly FillUnit[] {
  return stacks.flatMap(({ stack }, index) => {
    const rows = rowsOf(stack);
    const step = Math.max(1, Math.floor(UNIT_VALUES / stack.columns));
    return Array.from({ length: Math.ceil(rows / step) }, (_, i): FillUnit => {
      return { stack: index, first: i * step, count: Math.min(step, rows - i * step) };
    });
  });
}

/** Bytes of the unit as float32. */
export function unitBytes({ stacks }: WeightLayout, unit: FillUnit): number {
  return 4 * unit.count * (stacks[unit.stack]?.stack.columns ?? 0);
}

/** Takes bytes for an offset from the beginning of the layout's memory. */
export type Sink = (offset: number, bytes: Uint8Array) => void;

export function memorySink(buffer: ArrayBuffer): Sink {
  const memory = new Uint8Array(buffer);
  return (offset, bytes) => memory.set(bytes, offset);
}

/** `start`: where in the file the layout begins. */
export function fileSink(descriptor: number, start: number): Sink {
  return (offset, bytes) => {
    for (let written = 0; written < bytes.length;)
      written += writeSync(descriptor, bytes, written, bytes.length - written, start + offset + written);
  };
}

export function fillUnit(
  source: WeightSource,
  { stack, scheme, ...places }: PlannedStack,
  unit: FillUnit & { sink: Sink },
): void {
  const { first, count, sink } = unit;
  const values = new Float32Array(count * stack.columns);
  readStack(source, stack, { first, values });
  const write = (place: PlannedTensor, bytes: Uint8Array) => sink(place.offset + first * (bytes.length / count), bytes);
  if (scheme === null) return write(places.main, bytesOf(values));
  const rows = quantized(values, stack.columns, scheme);
  write(places.main, rows.codes);
  if (places.scales !== null) write(places.scales, bytesOf(rows.scales));
  if (places.zeroPoints !== null) write(places.zeroPoints, rows.zeroPoints);
}

function quantized(values: Float32Array, columns: number, scheme: Scheme) {
  const rows = values.length / columns;
  const bytes = rowBytes(scheme, columns);
  const target = {
    codes: new Uint8Array(rows * bytes.codes),
    scales: new Float32Array((rows * bytes.scales) / 4),
    zeroPoints: new Uint8Array(rows * bytes.zeroPoints),
  };
  quantizeRows(values, columns, { scheme, target });
  return target;
}

/** Fills `values` with rows of the stack from `first` on. */
function readStack(source: WeightSource, stack: Stack, into: { first: number; values: Float32Array }): void {
  const { columns, plus } = stack;
  const end = into.first + into.values.length / columns;
  let base = 0;
  for (const { tensor, rows } of stack.parts) {
    const from = Math.max(into.first, base);
    const to = Math.min(end, base + rows);
    if (from < to) {
      const target = into.values.subarray((from - into.first) * columns, (to - into.first) * columns);
      source.readRows(tensor, { rows, columns, first: from - base }, target);
    }
    base += rows;
  }
  if (plus !== undefined) into.values.forEach((value, i) => (into.values[i] = value + plus));
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);
