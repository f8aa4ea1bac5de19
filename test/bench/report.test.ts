import { expect, test } from 'vitest';
import { figuresOf } from './figures.ts';
import { reportJson, reportTable, type Cell, type Way } from './report.ts';
import { formatSpread, formatTable } from './table.ts';

test('columns are aligned by their longest cell', () => {
  const columns = [
    { title: 'name', align: 'left' },
    { title: 'n', align: 'right' },
    { title: 'note', align: 'left' },
  ] as const;
  const rows = [
    ['a', '1', ''],
    ['longest', '100', 'x'],
  ];
  expect(formatTable(columns, rows).split('\n')).toEqual([
    'name       n  note',
    '───────  ───  ────',
    'a          1',
    'longest  100  x',
  ]);
});

test('spreads show the digits that count', () => {
  expect(formatSpread({ median: 123.4, min: 99.94, max: 1000.6 })).toBe('123 [99.9–1001]');
  expect(formatSpread({ median: 1.234, min: 1.234, max: 1.234 })).toBe('1.23');
  expect(formatSpread({ median: NaN, min: NaN, max: NaN })).toBe('–');
});

/** A stream of 10 tokens a round that takes so many milliseconds. */
function cell(way: Way, times: readonly number[]): Cell {
  const rounds = times.map((endMs) => figuresOf([{ sentMs: 0, arrivalsMs: [5], endMs, tokens: 10 }]));
  return { model: 'm', quantization: 'int4', concurrency: 1, way, requests: 1, outputTokens: 10, rounds };
}
const CELLS = [cell('engine', [100, 200, 400]), cell('path', [200, 250, 400])];

test('the ratio is of each round with its neighbour, not of the medians', () => {
  const head = { bench: 'serve', date: new Date(0), parameters: { rounds: 3 } };
  const machine = { cpu: 'c', cores: 2, memoryGiB: 1, platform: 'p', node: 'v' };
  const line = reportJson({ ...head, machine }, CELLS);
  expect(line).not.toContain('\n');
  const json = JSON.parse(line);
  expect(json).toMatchObject({ bench: 'serve', date: '1970-01-01T00:00:00.000Z', parameters: { rounds: 3 }, machine });
  expect(json.pathToEngine).toEqual([
    { model: 'm', concurrency: 1, tokensPerSecond: { median: 0.8, min: 0.5, max: 1 } },
  ]);
  expect(json.cells[0]).toMatchObject({
    ...{ way: 'engine', outputTokens: 10, tokensPerSecond: { median: 50, min: 25, max: 100 } },
    itlP50Ms: { median: null, min: null, max: null },
  });
});

test('the table names ways, ratios and formulas', () => {
  const lines = reportTable(CELLS).split('\n');
  expect(lines[2]).toMatch(/^m int4 +1 +engine alone +50.0 \[25.0–100\] +5.00/);
  expect(lines[3]).toMatch(/^m int4 +1 +whole path +40.0 \[25.0–50.0\] +0.80 \[0.50–1.00\] +5.00/);
  expect(lines.some((line) => line.startsWith('ITL: gaps between arrivals'))).toBe(true);
});
