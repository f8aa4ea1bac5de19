import { expect, test } from 'vitest';
import { readOptions } from './options.ts';

test('defaults, and what replaces them', () => {
  expect(readOptions([])).toMatchObject({ models: ['mini', 'qwen'], concurrency: [1, 4, 16, 64], rounds: 3 });
  const quick = readOptions(['--quick', '--concurrency', '2, 8,2', '--json-only']);
  expect(quick).toMatchObject({ models: ['tiny'], concurrency: [2, 8], rounds: 1, jsonOnly: true });
  expect(readOptions(['--help'])).toBe(null);
});

test.each([
  [['--models', 'mini,other'], '--models names "other": there are mini, qwen, tiny'],
  [['--models', ','], '--models is empty'],
  [['--concurrency', '0'], '--concurrency is "0": it must be an integer from 1 to 256'],
  [['--rounds', 'x'], '--rounds is "x"'],
  [['--max-tokens', '1'], '--max-tokens is "1": it must be an integer from 2'],
  [['--else'], '--else'],
])('%j is refused by name', (args, message) => {
  expect(() => readOptions(args)).toThrow(message);
});
