import { describe, expect, test } from 'vitest';
import { readOptions } from './options.ts';
import { agreementText, figureTable, ratiosOf, ratioTable } from './report.ts';
import { decodeRate, type PeerResult } from './work.ts';

const result = (decode: Record<string, number>, sample: readonly number[] = [1, 2, 3]): PeerResult => {
  return { decode, prefill: { 256: 500 }, sample, loadMs: 900, residentMB: 600 };
};

test('decoding is timed while all streams decode', () => {
  // Two streams; the second begins at 20 and ends first, at 50: three tokens of each.
  const first = [0, 10, 20, 30, 40, 50, 60];
  const second = [20, 30, 40, 50];
  expect(decodeRate([first, second])).toBeCloseTo((6 / 30) * 1000);
  expect(decodeRate([[5, 15, 25]])).toBeCloseTo(100);
});

describe('ratios', () => {
  const results = {
    'millrace-int4-b32': [result({ 1: 90, 4: 200 }), result({ 1: 80, 4: 220 }), result({ 1: 100, 4: 210 })],
    'llama-q4_0': [result({ 1: 100, 4: 100 }), result({ 1: 100, 4: 100 }), result({ 1: 100, 4: 100 })],
    'transformers-q4': [result({ 4: 100 }, [1, 2, 9])],
  };

  test('are taken round by round, of what both have measured, and beside their musts', () => {
    const ratios = ratiosOf(results);
    const decode = ratios.filter(({ kind, theirs }) => kind === 'decode' && theirs === 'llama-q4_0');
    expect(decode).toMatchObject([
      { at: 1, ratio: { median: 0.9, min: 0.8, max: 1 }, must: 0.95, goal: 1.2 },
      { at: 4, ratio: { median: 2.1 }, must: 1.1 },
    ]);
    expect(ratios.filter(({ theirs }) => theirs === 'transformers-q4')).toMatchObject([
      { at: 4, ratio: { median: 2 } },
    ]);
    expect(ratioTable(ratios)).toMatch(/decode 1 +0\.90 \[0\.80–1\.00\] +≥ 0\.95 +missed/);
  });

  test('what was not measured is a dash', () => {
    expect(figureTable(results)).toMatch(/Transformers\.js q4 +– +100/);
  });

  test('equal weights are told by their tokens', () => {
    expect(agreementText(results)).toBe('Transformers.js q4 draws the same 2 of 3 greedy tokens as Millrace int4 b32.');
  });
});

test.each([
  [['--systems', 'ollama'], /--systems names "ollama": there are millrace-int4-b32/],
  [['--batches', '0'], /--batches is "0": it must be an integer from 1 to 64/],
  [['--rounds', 'x'], /--rounds is "x"/],
])('%j is refused', (args, message) => expect(() => readOptions(args)).toThrow(message));

test('defaults, and help', () => {
  expect(readOptions([])).toMatchObject({ batches: [1, 4, 16, 32], prefills: [256, 1024], rounds: 3 });
  expect(readOptions(['--quick'])).toMatchObject({ shape: 'mini-qwen', rounds: 1 });
  expect(readOptions(['--help'])).toBeNull();
});
