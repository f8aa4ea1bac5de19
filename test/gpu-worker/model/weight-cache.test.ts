import {
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { readModelConfig } from '../../../gpu-worker/model/config.ts';
import { planWeights } from '../../../gpu-worker/model/cpu-decoder.ts';
import { openWeights } from '../../../gpu-worker/model/open-weights.ts';
import { fillAll } from '../../../gpu-worker/model/quantize/fill-all.ts';
import type { FillProgress } from '../../../gpu-worker/model/quantize/fill-all.ts';
import { schemeOf } from '../../../gpu-worker/model/quantize/scheme.ts';
import type { BlockSize } from '../../../gpu-worker/model/quantize/scheme.ts';
import { WeightCache } from '../../../gpu-worker/model/quantize/weight-cache.ts';
import { WorkBoard } from '../../../gpu-worker/model/quantize/work-board.ts';
import { Memory } from '../../../gpu-worker/model/runtime/memory.ts';
import { openSafetensors } from '../../../gpu-worker/model/safetensors.ts';
import { fixture } from './plans.ts';

const EMBEDDED = fileURLToPath(new URL('../../../models/millrace-mini', import.meta.url));

let folder: string;
let model: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'weight-cache-'));
  model = join(folder, 'model');
  cpSync(fixture('tiny-llama'), model, { recursive: true });
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Opens the model with a cache; whether weights were read for it, and all bytes of them. */
function open(blockSize: BlockSize = 32, cache: string | null = join(folder, 'cache')) {
  const options = { quantization: 'int4', quantizationBlockSize: blockSize } as const;
  const layout = planWeights(readModelConfig(model), schemeOf(options));
  const source = openSafetensors(model);
  const progress: FillProgress[] = [];
  const onProgress = (each: FillProgress) => progress.push(each);
  const store = openWeights(layout, { ...options, source, folder: model, cache, threads: 2, onProgress });
  source.close();
  // Every tensor that the layout has, as sessions would see it.
  const codes = layout.stacks.map(({ stack, scheme }) => {
    const { pointer, shape } = scheme === null ? store.float32(stack) : store.quantized(stack).packed;
    const bytes = shape.reduce((product, size) => product * size, scheme === null ? 4 : 1);
    return Buffer.from(Memory.borrow(pointer, bytes).slice(0)).toString('base64');
  });
  store.settle();
  store.free();
  return { read: progress.length > 0, progress, codes };
}

const cached = (ending = '.weights') =>
  readdirSync(join(folder, 'cache'))
    .filter((name) => name.endsWith(ending))
    .map((name) => join(folder, 'cache', name));

describe('a cached load', () => {
  test('reads no weights and has the same ones, with other block sizes beside it', () => {
    const plain = open(32, null);
    const first = open();
    expect(first).toMatchObject({ read: true, codes: plain.codes });
    expect(open()).toMatchObject({ read: false, codes: plain.codes });
    expect(open(128).read).toBe(true);
    expect(open(128).read).toBe(false);
    expect(open().read).toBe(false);
    expect(cached()).toHaveLength(2);
    expect(cached('.partial')).toEqual([]);
  });

  test('is of the weights that are there, however alike their times are', () => {
    const first = open();
    const path = join(model, 'model.safetensors');
    const { atime, mtime, size } = statSync(path);
    const bytes = readFileSync(path);
    // In the middle of the data.
    bytes.writeUInt8(bytes.readUInt8(size >> 1) ^ 0x40, size >> 1);
    writeFileSync(path, bytes);
    utimesSync(path, atime, mtime);
    const second = open();
    expect(second.read).toBe(true);
    expect(second.codes).not.toEqual(first.codes);
  });

  test.each<[string, (path: string) => void]>([
    ['cut short', (path) => truncateSync(path, statSync(path).size - 1)],
    ['empty', (path) => truncateSync(path, 0)],
    ['longer', (path) => writeFileSync(path, Buffer.alloc(5), { flag: 'a' })],
    ['with another header', (path) => overwrite(path, 20, Buffer.from('{}'))],
    ['with one bit of data changed', (path) => overwrite(path, statSync(path).size - 100, Buffer.from([0xa5]))],
  ])('of a file that is %s is made again', (_, damage) => {
    const first = open();
    const [path = ''] = cached();
    damage(path);
    expect(open()).toMatchObject({ read: true, codes: first.codes });
    expect(open()).toMatchObject({ read: false, codes: first.codes });
  });

  test('where the folder cannot be made works without, with a warning', () => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {});
    writeFileSync(join(folder, 'file'), '');
    expect(open(32, join(folder, 'file', 'cache'))).toMatchObject({ read: true, codes: open(32, null).codes });
    expect(warn.mock.calls.join()).toMatch(/quantized weights are not cached in .*file\/cache: ENOTDIR/);
    warn.mockRestore();
  });
});

test('progress ends with all bytes', () => {
  const { progress } = open(32, null);
  const { doneBytes, totalBytes } = progress.at(-1) ?? {};
  expect(totalBytes).toBeGreaterThan(100_000);
  expect(doneBytes).toBe(totalBytes);
});

test('helping threads give the same bytes', () => {
  const layout = planWeights(readModelConfig(EMBEDDED), schemeOf({ quantization: 'int4' }));
  const source = openSafetensors(EMBEDDED);
  const [alone, together] = [1, 3].map((threads) => {
    const memory = Memory.allocate(layout.bytes);
    const target = { type: 'memory', pointer: memory.pointer, bytes: memory.bytes } as const;
    fillAll(layout, memory.buffer, { source, folder: EMBEDDED, target, threads, onProgress: () => {} });
    const bytes = Buffer.from(memory.buffer.slice(0));
    memory.free();
    return bytes;
  });
  source.close();
  expect(alone?.some((byte) => byte !== 0)).toBe(true);
  expect(together?.equals(alone ?? Buffer.alloc(0))).toBe(true);
});

test('the least recently used files make room, what others are making stays', () => {
  open(32);
  const [small = ''] = cached();
  const cacheFolder = join(folder, 'cache');
  const partial = join(cacheFolder, 'other.partial');
  const left = join(cacheFolder, 'left.partial');
  for (const path of [partial, left]) writeFileSync(path, 'x');
  const yesterday = new Date(Date.now() - 25 * 3_600_000);
  utimesSync(left, yesterday, yesterday);
  const layout = planWeights(readModelConfig(model), schemeOf({ quantization: 'int8' }));
  const source = openSafetensors(model);
  const cache = new WeightCache(cacheFolder, statSync(small).size + 1);
  const fill = (descriptor: number, start: number) => {
    const target = { type: 'file', descriptor, start } as const;
    fillAll(layout, null, { source, folder: null, target, threads: 1, onProgress: () => {} });
  };
  cache.make('a'.repeat(40), layout, fill).memory.free();
  source.close();
  expect(cached()).toEqual([join(cacheFolder, `${'a'.repeat(40)}.weights`)]);
  expect(cached('.partial')).toEqual([partial]);
});

test('a source that fails leaves nothing behind', () => {
  open();
  for (const path of cached()) rmSync(path);
  const layout = planWeights(readModelConfig(model), schemeOf({ quantization: 'int4' }));
  const source = {
    identity: 'broken',
    close: () => {},
    readRows: () => {
      throw new Error('gone');
    },
  };
  const from = { source, folder: model, quantization: 'int4', cache: join(folder, 'cache'), threads: 1 } as const;
  expect(() => openWeights(layout, { ...from, onProgress: () => {} })).toThrow('gone');
  expect([...cached(), ...cached('.partial')]).toEqual([]);
});

describe('a board of work', () => {
  test('gives every unit once, and says which failed', () => {
    const board = new WorkBoard(5);
    const other = new WorkBoard(board.memory);
    const taken: number[] = [];
    expect(() =>
      other.work((unit) => {
        taken.push(unit);
        if (unit === 2) throw new Error('helper');
      }),
    ).toThrow('helper');
    board.work((unit) => taken.push(unit));
    expect(taken).toEqual([0, 1, 2, 3, 4]);
    expect(board.waitForOthers(10, () => {})).toEqual([2]);
    board.close();
  });

  test('gives nothing once it is closed', () => {
    const board = new WorkBoard(2);
    board.close();
    new WorkBoard(board.memory).work(() => expect.unreachable());
    expect(board.done).toBe(0);
  });
});

function overwrite(path: string, at: number, bytes: Buffer): void {
  const all = readFileSync(path);
  bytes.copy(all, at);
  writeFileSync(path, all);
}
