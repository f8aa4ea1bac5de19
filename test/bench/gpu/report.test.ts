/** The GPU benchmark's arguments and table, which need no GPU. */
import { expect, test } from 'vitest';
import { readGpuOptions } from './options.ts';
import type { GpuOptions } from './options.ts';
import { llama8b } from './random-halves.ts';
import { gpuTable } from './report.ts';
import type { Measured } from './report.ts';

function optionsOf(...args: string[]): GpuOptions {
  const options = readGpuOptions(args);
  if (options === null) throw new Error('no help was asked for');
  return options;
}

const decode = (batch: number, stepMs: number) => {
  return { batch, context: 128, stepMs, p90Ms: stepMs, gpuMs: stepMs, tokensPerSecond: 1000 / stepMs, busy: 1 };
};
const throughput = (requests: number, tokensPerSecond: number) => {
  return { requests, promptTokens: 16, outputTokens: 128, tokensPerSecond, seconds: 5, steps: 130, preemptions: 0 };
};
const MEASURED: Measured = {
  decodes: [decode(1, 5), decode(16, 5.31), decode(8, 5)],
  throughputs: [throughput(1000, 27_000)],
  firstTokenMs: 8,
  openSeconds: 4,
  int4: decode(1, 3),
  transformers: {
    requests: 1000,
    prompt: 16,
    output: 64,
    tokensPerSecond: 3000,
    seconds: 20,
    transformers: '5',
    torch: '2',
  },
};

const lineOf = (table: string, name: string): string => table.split('\n').find((line) => line.startsWith(name)) ?? '';

test('each figure stands beside its must, the floor and vLLM', () => {
  const table = gpuTable(MEASURED, llama8b(32), optionsOf());
  expect(lineOf(table, 'decode step, batch 1 ')).toMatch(/5\.00 ms +≤ 5\.2 +met +vLLM 4\.88, floor 3\.49; 200 tok\/s/);
  expect(lineOf(table, 'decode step, batch 16')).toMatch(/5\.31 ms +≤ 5\.3 +missed/);
  expect(lineOf(table, '1000 requests')).toMatch(/27000 tok\/s +≥ 25000 +met +\$0\.031 per 1M output tokens at \$3\/h/);
  expect(lineOf(table, 'int4')).toMatch(/333 tok\/s +≥ 315 +met/);
  expect(lineOf(table, 'beside transformers')).toMatch(/9\.0 × +≥ 7 +met/);
});

test('a batch without a must has none, nor have rounded weights, whose floor is lower', () => {
  const plain = gpuTable(MEASURED, llama8b(32), optionsOf());
  expect(lineOf(plain, 'decode step, batch 8')).toMatch(/5\.00 ms +floor 3\.\d+;/);
  const int4 = gpuTable(MEASURED, llama8b(32), optionsOf('--weights', 'int4'));
  expect(lineOf(int4, 'decode step, batch 1 ')).toMatch(/5\.00 ms +floor 0\.9\d;/);
  expect(plain + int4).not.toContain('NaN');
});

test('defaults measure everything', () => {
  expect(optionsOf()).toMatchObject({ batches: [1, 16, 64, 256, 1024], maxNumSeqs: 1024, transformers: null });
  expect(optionsOf().only).toEqual(['decode', 'first', 'throughput', 'long', 'int4']);
  expect(readGpuOptions(['--help'])).toBeNull();
});

test.each([
  ['--weights', 'fp4', '--weights is "fp4": take none, int8, int4'],
  ['--kv', 'x', '--kv is "x": take auto, float16, fp8, int8'],
  ['--graphs', 'yes', '--graphs is "yes": take true, false'],
  ['--only', 'decode,foo', '--only is "foo": take decode, first, throughput, long, int4'],
  ['--batches', '0', '--batches is "0": it must be an integer from 1 to 8192'],
  ['--layers', '33', '--layers is "33": it must be an integer from 1 to 32'],
  ['--dollars', '-1', '--dollars is "-1": it must be a number of at least 0'],
])('%s %s is refused by name', (flag, value, message) => {
  expect(() => readGpuOptions([`${flag}=${value}`])).toThrow(message);
});
