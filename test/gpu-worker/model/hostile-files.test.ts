/** Model folders made to harm: refused by name before anything is allocated for them, at once. */
import {
  closeSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { execFileSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readModelConfig } from '../../../gpu-worker/model/config.ts';
import { ModelFolderError } from '../../../gpu-worker/model/folder.ts';
import { openSafetensors } from '../../../gpu-worker/model/safetensors.ts';
import { cpuMs } from '../../support/cpu-time.ts';

const MODEL = 'model.safetensors';
const INDEX = 'model.safetensors.index.json';
/** Of processor time, which others on the machine do not lengthen. */
const MAX_MS = 2000;
const MAX_GROWTH_BYTES = 48 << 20;

let root: string;
let folder: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'hostile-'));
  folder = join(root, 'model');
  mkdirSync(folder);
});
afterEach(() => rmSync(root, { recursive: true }));

function safetensors(header: object | string, dataBytes: number): Buffer {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, Buffer.alloc(dataBytes)]);
}

const halves = (count: number, begin: number) => ({
  dtype: 'F16',
  shape: [count],
  data_offsets: [begin, begin + 2 * count],
});
const GOOD = safetensors({ a: halves(2, 0) }, 4);

/** Opening must fail with `message`, soon, without growing. */
function expectRefused(message: string | RegExp, open: () => unknown = () => openSafetensors(folder)): void {
  const before = process.memoryUsage();
  let thrown: unknown;
  const ms = cpuMs(() => {
    try {
      open();
    } catch (error) {
      thrown = error;
    }
  });
  const after = process.memoryUsage();
  expect(thrown).toBeInstanceOf(ModelFolderError);
  expect((thrown as Error).message).toMatch(message);
  expect((thrown as Error).message.length).toBeLessThan(1000);
  expect(ms).toBeLessThan(MAX_MS);
  for (const kind of ['rss', 'heapUsed', 'external'] as const)
    expect(after[kind] - before[kind], kind).toBeLessThan(MAX_GROWTH_BYTES);
}

describe('names and links that lead out of the folder', () => {
  const indexOf = (file: string) => writeFileSync(join(folder, INDEX), JSON.stringify({ weight_map: { a: file } }));

  test.each([
    '../secret',
    '/etc/passwd',
    'sub/a.safetensors',
    '..',
    '.',
    '',
    'a\0b',
    `..${'/..'.repeat(9)}/etc/passwd`,
  ])('the index names %j', (file) => {
    writeFileSync(join(root, 'secret'), GOOD);
    indexOf(file);
    expectRefused('files must lie in the model folder itself');
  });

  test('a symbolic link out, to a file, through a folder, in a chain', () => {
    writeFileSync(join(root, 'secret'), GOOD);
    symlinkSync(join(root, 'secret'), join(folder, MODEL));
    expectRefused(`${MODEL} in ${folder} is a link to a file outside the folder`);
    rmSync(join(folder, MODEL));
    symlinkSync('../secret', join(folder, 'hop'));
    symlinkSync('hop', join(folder, MODEL));
    expectRefused('is a link to a file outside the folder');
    rmSync(join(folder, MODEL));
    symlinkSync('..', join(folder, 'up'));
    symlinkSync('up/secret', join(folder, MODEL));
    expectRefused('is a link to a file outside the folder');
  });

  test.each(['config.json', 'generation_config.json', INDEX])('%s may not be a link out either', (file) => {
    writeFileSync(join(root, 'secret'), '{}');
    writeFileSync(join(folder, 'config.json'), '{}');
    rmSync(join(folder, file), { force: true });
    symlinkSync('../secret', join(folder, file));
    const open = () => (file === INDEX ? openSafetensors(folder) : readModelConfig(folder));
    expectRefused(`${file} in ${folder} is a link`, open);
  });

  test('a hard link out', () => {
    writeFileSync(join(root, 'secret'), GOOD);
    linkSync(join(root, 'secret'), join(folder, MODEL));
    expectRefused('is a hard link to a file that has a name outside the folder');
  });

  test('links inside the folder are followed', () => {
    writeFileSync(join(folder, 'weights'), GOOD);
    symlinkSync('weights', join(folder, MODEL));
    openSafetensors(folder).close();
    rmSync(join(folder, MODEL));
    linkSync(join(folder, 'weights'), join(folder, MODEL));
    openSafetensors(folder).close();
  });

  test('the cache of the hub: a snapshot links to its own blobs and to nothing else', () => {
    const repository = join(root, 'models--some--model');
    const snapshot = join(repository, 'snapshots', 'abc');
    for (const path of [snapshot, join(repository, 'blobs'), join(root, 'models--other--model', 'blobs')])
      mkdirSync(path, { recursive: true });
    writeFileSync(join(repository, 'blobs', '123'), GOOD);
    writeFileSync(join(root, 'models--other--model', 'blobs', '123'), GOOD);
    symlinkSync('../../blobs/123', join(snapshot, MODEL));
    openSafetensors(snapshot).close();
    symlinkSync(snapshot, join(root, 'by-another-name'));
    openSafetensors(join(root, 'by-another-name')).close();
    rmSync(join(snapshot, MODEL));
    symlinkSync('../../../models--other--model/blobs/123', join(snapshot, MODEL));
    expectRefused('outside the folder', () => openSafetensors(snapshot));
  });

  test('what is not a regular file: a folder, a device, a pipe without a writer', () => {
    mkdirSync(join(folder, MODEL));
    expectRefused(`${MODEL} in ${folder} is not a regular file`);
    rmSync(join(folder, MODEL), { recursive: true });
    symlinkSync('/dev/zero', join(folder, MODEL));
    expectRefused('outside the folder');
    rmSync(join(folder, MODEL));
    execFileSync('mkfifo', [join(folder, MODEL)]);
    expectRefused('is not a regular file');
  });
});

describe('lengths that lie', () => {
  /** A file of `bytes` that takes no room on the disk. */
  function sparse(file: string, head: Buffer, bytes: number): void {
    const descriptor = openSync(join(folder, file), 'w');
    writeSync(descriptor, head);
    ftruncateSync(descriptor, bytes);
    closeSync(descriptor);
  }
  const lengthOf = (bytes: bigint) => Buffer.from(BigUint64Array.of(bytes).buffer);

  test.each([
    ['data cut short', { a: halves(4, 0) }, 4, 'the file is damaged or the download incomplete'],
    ['data too long', { a: halves(2, 0) }, 6, 'the file is damaged or the download incomplete'],
    ['a gap', { a: halves(1, 0), b: halves(1, 4) }, 6, 'no tensor owns the bytes before tensor b'],
    ['a late start', { a: halves(1, 2) }, 4, 'no tensor owns the bytes before tensor a'],
    ['an overlap', { a: halves(2, 0), b: halves(2, 2) }, 6, 'tensor b overlaps another'],
    ['one inside another', { a: halves(3, 0), b: halves(1, 2) }, 6, 'tensor b overlaps another'],
    ['the same bytes twice', { a: halves(2, 0), b: halves(2, 0) }, 4, 'tensor b overlaps another'],
    [
      'more elements than bytes',
      { a: { dtype: 'F32', shape: [1 << 30, 1 << 30], data_offsets: [0, 4] } },
      4,
      'does not match its shape',
    ],
    [
      'a product beyond 2^53',
      { a: { dtype: 'F32', shape: Array(8).fill(2 ** 52), data_offsets: [0, 4] } },
      4,
      'does not match its shape',
    ],
    ['offsets backwards', { a: { dtype: 'I64', shape: [1], data_offsets: [8, 0] } }, 8, 'does not match its shape'],
    ['a fractional size', { a: { dtype: 'F16', shape: [0.5], data_offsets: [0, 1] } }, 1, 'malformed header entry'],
    [
      'too many dimensions',
      { a: { dtype: 'F16', shape: Array(9).fill(1), data_offsets: [0, 2] } },
      2,
      'malformed header entry',
    ],
  ])('%s', (_, header, dataBytes, message) => {
    writeFileSync(join(folder, MODEL), safetensors(header, dataBytes));
    expectRefused(message);
  });

  test('a tensor named like a property of objects is only a tensor', () => {
    writeFileSync(
      join(folder, MODEL),
      safetensors('{"__proto__":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}', 4),
    );
    const source = openSafetensors(folder);
    expect(() => source.readRows('a', { rows: 2, columns: 1, first: 0 }, new Float32Array(2))).toThrow(
      'tensor a is missing',
    );
    source.close();
  });

  test.each([1n << 24n, 1n << 40n, (1n << 63n) + 5n, (1n << 64n) - 1n])('a header of %d bytes', (bytes) => {
    sparse(MODEL, lengthOf(bytes), 1 << 30);
    expectRefused(`header of ${Number(bytes)} bytes`);
  });

  test('a header of 100 MB that is all there', () => {
    sparse(MODEL, lengthOf(100_000_000n), 100_000_008);
    expectRefused('header of 100000000 bytes');
  });

  test('8 MB of nesting', () => {
    writeFileSync(join(folder, MODEL), safetensors(`{"a":${'['.repeat(8_000_000)}`, 0));
    expectRefused('header with 8000000 lists for 1 tensors: it is damaged');
  });

  test('a hundred thousand tensors in one file', () => {
    const entries = Array.from(
      { length: 100_000 },
      (_, i) => `"t${i}":{"dtype":"F16","shape":[0],"data_offsets":[0,0]}`,
    );
    writeFileSync(join(folder, MODEL), safetensors(`{${entries.join(',')}}`, 0));
    expectRefused('header of about 100001 tensors, at most 16384 are accepted');
  });

  test('a hundred thousand tensors in many files', () => {
    const names: Record<string, string> = {};
    for (let file = 0; file < 10; file++) {
      const entries = Array.from({ length: 10_000 }, (_, i) => {
        return [`${file}.${i}`, { dtype: 'F16', shape: [0], data_offsets: [0, 0] }] as const;
      });
      writeFileSync(join(folder, `${file}.safetensors`), safetensors(Object.fromEntries(entries), 0));
      names[`${file}.0`] = `${file}.safetensors`;
    }
    writeFileSync(join(folder, INDEX), JSON.stringify({ weight_map: names }));
    expectRefused('more than 16384 tensors');
  });

  test('an index of two thousand files, and one of a gigabyte', () => {
    const names = Array.from({ length: 2000 }, (_, i) => [`t${i}`, `${i}.safetensors`] as const);
    writeFileSync(join(folder, INDEX), JSON.stringify({ weight_map: Object.fromEntries(names) }));
    expectRefused('names 2000 files, at most 1024');
    sparse(INDEX, Buffer.from('{'), 1 << 30);
    expectRefused(`${INDEX} in ${folder} has ${1 << 30} bytes`);
  });

  test('a config.json of a gigabyte', () => {
    sparse('config.json', Buffer.from('{'), 1 << 30);
    expectRefused('config.json', () => readModelConfig(folder));
  });

  test('a config.json whose sizes are absurd', () => {
    const config = { model_type: 'llama', max_position_embeddings: 64, vocab_size: 1e15 };
    writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
    expectRefused('vocab_size', () => readModelConfig(folder));
  });
});
