import { expect, test } from 'vitest';
import { MEASURE_NAMES, readRoutingOptions } from './options.ts';

test('without arguments everything runs, on 4 and on 16 workers', () => {
  const options = readRoutingOptions([]);
  expect(options).toMatchObject({ only: MEASURE_NAMES, workers: [4, 16], rate: 2, overloadRate: 4, quick: false });
});

test('what is given counts, with --quick too', () => {
  const options = readRoutingOptions(['--quick', '--only', 'real,lookup', '--rate', '0.5', '--skew', '0']);
  expect(options).toMatchObject({ only: ['real', 'lookup'], rate: 0.5, skew: 0, quick: true });
});

test('help is no run', () => {
  expect(readRoutingOptions(['--help'])).toBeNull();
});

test.each([
  [['--only', 'fleets'], '--only names "fleets": there are lookup, fleet, isolation, real'],
  [['--workers', '1'], '--workers is "1": it must be an integer from 2 to 64'],
  [['--rate', '0'], '--rate is "0": it must be a number above 0, at most 1000'],
  [['--overload', 'many'], '--overload is "many": it must be a number above 0, at most 1000'],
  [['--skew', ''], '--skew is "": it must be a number above -1, at most 5'],
])('%j is refused by name', (args, message) => {
  expect(() => readRoutingOptions(args)).toThrow(message);
});
