import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { readItems } from '../../../gpu-worker/cli/input-lines.ts';
import { linesOf, type LinesOptions } from '../../../gpu-worker/cli/lines.ts';

const folder = mkdtempSync(join(tmpdir(), 'millrace-lines-'));
afterAll(() => rmSync(folder, { recursive: true }));

function fileOf(content: string | Buffer): string {
  const file = join(folder, 'file.jsonl');
  writeFileSync(file, content);
  return file;
}

async function all<T>(items: AsyncIterable<T>): Promise<readonly T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

async function texts(content: string | Buffer, options?: LinesOptions): Promise<readonly string[]> {
  const lines = await all(linesOf(fileOf(content), options));
  expect(lines.map(({ line }) => line)).toEqual(lines.map((_, i) => i + 1));
  return lines.map(({ text }) => text);
}

test('lines end at \\n or \\r\\n and nowhere else; the last one needs no end', async () => {
  expect(await texts('')).toEqual([]);
  expect(await texts('\n')).toEqual(['']);
  expect(await texts('a\n\nb\r\n\r\nc\r\r\nd')).toEqual(['a', '', 'b', '', 'c\r', 'd']);
  expect(await texts('a\u2028b\u2029c\u0085d\re\vf\fg\n')).toEqual(['a\u2028b\u2029c\u0085d\re\vf\fg']);
});

test('lines and characters go on over the parts that a file is read in', async () => {
  const long = '€'.repeat(50_000);
  expect(await texts(`${long}\nx\r\n${long}${long}`)).toEqual([long, 'x', long + long]);
  // The \r is the last byte of the first part.
  expect(await texts(`${'y'.repeat(65_535)}\r\nz\n`)).toEqual(['y'.repeat(65_535), 'z']);
});

test('only so many bytes of the file, where asked', async () => {
  expect(await texts('ab\ncd\nef', { bytes: 0 })).toEqual([]);
  expect(await texts('ab\ncd\nef', { bytes: 3 })).toEqual(['ab']);
  expect(await texts('ab\ncd\nef', { bytes: 5 })).toEqual(['ab', 'cd']);
});

test('a line that is too long is refused by its number before it is all in memory', async () => {
  expect(await texts('12345678\n12345678\r\n', { maxLineBytes: 9 })).toEqual(['12345678', '12345678']);
  await expect(texts(`ok\n${'x'.repeat(10)}\n`, { maxLineBytes: 9 })).rejects.toThrow(
    /file\.jsonl:2 is longer than 9 bytes: the file must be JSON Lines/,
  );
  await expect(texts('\0'.repeat(1_000_000), { maxLineBytes: 9 })).rejects.toThrow(/:1 is longer than 9 bytes/);
});

test('a prompt of the input may hold any character that JSON allows in a text', async () => {
  const prompt = 'one\u2028two\u2029three\u0085four';
  const input = { file: fileOf(`\uFEFF${JSON.stringify(prompt)}\r\n\n{"prompt":${JSON.stringify(prompt)}}`) };
  const items = await all(readItems({ input, chat: false, repeat: 1, params: {} }));
  expect(items.map(({ type, line, echo }) => [type, line, echo['prompt']])).toEqual([
    ['request', 1, prompt],
    ['request', 3, prompt],
  ]);
});
