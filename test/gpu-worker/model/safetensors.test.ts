import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openSafetensors, safetensorsFiles } from '../../../gpu-worker/model/safetensors.ts';

let folder: string;
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'safetensors-'))));
afterEach(() => rmSync(folder, { recursive: true }));

/** `pad` spaces after the header shift the data to any alignment. */
function write(header: object, data: Uint8Array, { file = 'model.safetensors', pad = 0 } = {}): void {
  const text = new TextEncoder().encode(JSON.stringify(header) + ' '.repeat(pad));
  const length = new Uint8Array(BigUint64Array.of(BigInt(text.length)).buffer);
  writeFileSync(join(folder, file), Buffer.concat([length, text, data]));
}

const tensor = (dtype: string, shape: number[], begin: number, end: number) => ({
  dtype,
  shape,
  data_offsets: [begin, end],
});
const bytes = (...halves: number[]) => new Uint8Array(Uint16Array.from(halves).buffer);

function read(name: string, rows: number, columns: number, first = 0, count = rows): number[] {
  const source = openSafetensors(folder);
  const target = new Float32Array(count * columns);
  try {
    source.readRows(name, { rows, columns, first }, target);
  } finally {
    source.close();
  }
  return [...target];
}

describe('numbers', () => {
  test.each([0, 1, 2, 3])('F32, F16 and BF16 at any alignment (+%i)', (pad) => {
    const floats = new Uint8Array(Float32Array.of(1.5, -2, 3e-38, 7).buffer);
    // Largest, smallest subnormal, −1 and one third in half precision; 1, −2, largest in bfloat16.
    const halves = bytes(0x7bff, 0x0001, 0xbc00, 0x3555);
    const brains = bytes(0x3f80, 0xc000, 0x7f7f);
    const header = {
      f: tensor('F32', [2, 2], 0, 16),
      h: tensor('F16', [4], 16, 24),
      b: tensor('BF16', [3, 1], 24, 30),
    };
    write({ __metadata__: { format: 'pt' }, ...header }, Buffer.concat([floats, halves, brains]), { pad });
    expect(read('f', 2, 2)).toEqual([1.5, -2, Math.fround(3e-38), 7]);
    expect(read('f', 2, 2, 1, 1)).toEqual([Math.fround(3e-38), 7]);
    expect(read('h', 4, 1)).toEqual([65504, 2 ** -24, -1, Math.fround(0.333251953125)]);
    expect(read('b', 3, 1)).toEqual([1, -2, Math.fround(3.3895313892515355e38)]);
  });
});

describe('files', () => {
  test('an index names several', () => {
    write({ a: tensor('BF16', [1], 0, 2) }, bytes(0x3f80), { file: 'one.safetensors' });
    write({ b: tensor('BF16', [1], 0, 2) }, bytes(0x4000), { file: 'two.safetensors' });
    const index = join(folder, 'model.safetensors.index.json');
    writeFileSync(index, JSON.stringify({ weight_map: { a: 'one.safetensors', b: 'two.safetensors' } }));
    expect([read('a', 1, 1), read('b', 1, 1)]).toEqual([[1], [2]]);
    writeFileSync(index, JSON.stringify({ weight_map: { a: '../one.safetensors' } }));
    expect(() => openSafetensors(folder)).toThrow('files must lie in the model folder itself');
    writeFileSync(index, JSON.stringify({ weight_map: { a: 'three.safetensors' } }));
    expect(() => openSafetensors(folder)).toThrow('three.safetensors is not in');
  });

  test('without an index: the one of the usual name, or the only one', () => {
    write({ a: tensor('BF16', [1], 0, 2) }, bytes(0x3f80), { file: 'consolidated.safetensors' });
    expect(safetensorsFiles(folder)).toEqual(['consolidated.safetensors']);
    write({ a: tensor('BF16', [1], 0, 2) }, bytes(0x4000));
    expect(read('a', 1, 1)).toEqual([2]);
    write({ a: tensor('BF16', [1], 0, 2) }, bytes(0x4000), { file: 'adapter.safetensors' });
    rmSync(join(folder, 'model.safetensors'));
    expect(() => openSafetensors(folder)).toThrow('holds 2 .safetensors files without an index');
  });

  test('an index counts tensors of any name; a place that is none is refused by field', () => {
    const index = join(folder, 'model.safetensors.index.json');
    writeFileSync(
      index,
      JSON.stringify({ weight_map: { constructor: 'one.safetensors', prototype: 'two.safetensors' } }),
    );
    expect(safetensorsFiles(folder)).toEqual(['one.safetensors', 'two.safetensors']);
    writeFileSync(index, JSON.stringify({ weight_map: { a: 1 } }));
    expect(() => openSafetensors(folder)).toThrow('model.safetensors.index.json: weight_map: must be an object from');
  });

  test('identity follows the weights', () => {
    write({ a: tensor('BF16', [1], 0, 2) }, bytes(0x3f80));
    const before = openSafetensors(folder).identity;
    expect(openSafetensors(folder).identity).toBe(before);
    write({ a: tensor('BF16', [1], 0, 2) }, bytes(0x3f81));
    expect(openSafetensors(folder).identity).not.toBe(before);
  });
});

describe('damage is named', () => {
  test.each([
    ['data cut short', { a: tensor('BF16', [4], 0, 8) }, 'the file is damaged or the download incomplete'],
    ['shape and size disagree', { a: tensor('BF16', [2], 0, 2) }, 'tensor a: data at 0…2'],
    ['offsets backwards', { a: tensor('I64', [1], 2, 0) }, 'tensor a: data at 2…0'],
    ['overlap', { a: tensor('BF16', [1], 0, 2), b: tensor('BF16', [1], 0, 2) }, 'tensor b overlaps'],
    ['malformed entry', { a: { dtype: 'F32' } }, 'tensor a: malformed'],
    ['negative offset', { a: tensor('BF16', [1], -2, 0) }, 'tensor a: malformed'],
  ])('%s', (_, header, message) => {
    write(header, bytes(1, 2));
    expect(() => openSafetensors(folder)).toThrow(message);
  });

  test('a header longer than the file', () => {
    writeFileSync(join(folder, 'model.safetensors'), new Uint8Array(BigUint64Array.of(1n << 40n).buffer));
    expect(() => openSafetensors(folder)).toThrow('damaged or cut short');
  });

  test('an empty file, a header that is not JSON, no file', () => {
    writeFileSync(join(folder, 'model.safetensors'), '');
    expect(() => openSafetensors(folder)).toThrow('not a safetensors file');
    writeFileSync(join(folder, 'model.safetensors'), new Uint8Array([2, 0, 0, 0, 0, 0, 0, 0, 123, 123]));
    expect(() => openSafetensors(folder)).toThrow('not JSON');
    rmSync(join(folder, 'model.safetensors'));
    expect(() => openSafetensors(folder)).toThrow('holds 0 .safetensors files');
  });

  test('a missing tensor, another shape, a number format that is not float', () => {
    write({ a: tensor('BF16', [1, 2], 0, 4), q: tensor('I32', [1], 4, 8) }, bytes(1, 2, 3, 4));
    expect(() => read('c', 1, 2)).toThrow('tensor c is missing');
    expect(() => read('a', 2, 1)).toThrow('tensor a has shape [1, 2], config.json implies [2, 1]');
    expect(() => read('q', 1, 1)).toThrow('tensor q is stored as I32');
  });
});

describe('16-bit values as they are stored', () => {
  const two = { a: tensor('BF16', [2, 2], 0, 8), b: tensor('BF16', [1], 8, 10) };
  const data = bytes(0x3f80, 0xc000, 0x7f7f, 0x0001, 0x4000);

  test('come over bit by bit, at any alignment, in their own format only', () => {
    write(two, data, { pad: 1 });
    const source = openSafetensors(folder);
    const target = new Uint16Array(2);
    const part = { rows: 2, columns: 2, first: 1 };
    expect(source.readHalves?.('a', { ...part, type: 'float16' }, target)).toBe(false);
    expect([...target]).toEqual([0, 0]);
    expect(source.readHalves?.('a', { ...part, type: 'bfloat16' }, target)).toBe(true);
    expect([...target]).toEqual([0x7f7f, 0x0001]);
    expect(() => source.readHalves?.('a', { ...part, first: 2, type: 'bfloat16' }, target)).toThrow('beyond the end');
    source.close();
  });

  test('the format is that of all weights, or none', () => {
    write(two, data);
    const whole = openSafetensors(folder);
    expect(whole.storedAs).toBe('bfloat16');
    whole.close();
    write({ a: tensor('BF16', [2, 2], 0, 8), b: tensor('F16', [1], 8, 10) }, data);
    const mixed = openSafetensors(folder);
    expect(mixed.storedAs).toBeNull();
    mixed.close();
  });
});
