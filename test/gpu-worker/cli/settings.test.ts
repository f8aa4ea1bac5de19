import { expect, test } from 'vitest';
import { GENERATE_FLAGS, SERVE_FLAGS, type FlagTable } from '../../../gpu-worker/cli/flags.ts';
import { generateHelp, readGenerateConfig } from '../../../gpu-worker/cli/generate-config.ts';
import { ConfigError, helpRows, readFlags } from '../../../gpu-worker/cli/settings.ts';
import { thrownBy } from '../../support/thrown.ts';

const table = {
  size: { env: 'SIZE', help: 'how large', fallback: '7' },
  low: { env: null, help: 'may be below zero', fallback: '0' },
  warm: { env: 'WARM', help: 'or cold', fallback: 'true', kind: 'switch' },
  loud: { env: null, help: 'or quiet', fallback: 'false', kind: 'switch' },
  word: { env: null, help: 'any number of them', fallback: '', kind: 'list' },
} as const satisfies FlagTable;

const read = (args: readonly string[], env = {}) => readFlags(table, args, env);

test.each([
  [[], true, false],
  [['--no-warm'], false, false],
  [['--warm', '--loud'], true, true],
  [['--warm=false', '--loud=true'], false, true],
  [['--warm', 'false', '--loud', 'true'], false, true],
])('switches: %j', (args, warm, loud) => {
  expect([read(args)?.boolean('warm'), read(args)?.boolean('loud')]).toEqual([warm, loud]);
});

test('a switch by its variable; the flag wins', () => {
  expect(read([], { WARM: 'false' })?.boolean('warm')).toBe(false);
  expect(read(['--warm'], { WARM: 'false' })?.boolean('warm')).toBe(true);
  expect(() => read([], { WARM: 'yes' })?.boolean('warm')).toThrow('--warm (WARM) is "yes": it must be true or false');
});

test('numbers below zero, a lone dash and lists are values', () => {
  expect(read(['--low', '-2', '--size', '9'])?.integer('low', -5, 5)).toBe(-2);
  expect(read(['--word', '-', '--word=--x', '--word', 'a b'])?.list('word')).toEqual(['-', '--x', 'a b']);
});

test.each([
  [['--size'], /--size/],
  [['--size', '1', '--size', '2'], /--size is given 2 times/],
  [['--sise', '1'], /'--sise'.*--help lists the flags/],
  [['--no-size'], /'--no-size'/],
  [['extra'], /extra/],
  [['--size', '--loud'], /--size/],
  [['--toString'], /--toString/],
])('%j is refused', (args, message) => {
  const error = thrownBy(() => read(args));
  expect(error).toBeInstanceOf(ConfigError);
  expect(String(error)).toMatch(message);
});

test('an empty number is none', () => {
  expect(() => read(['--size', ''])?.integer('size', 0, 9)).toThrow('--size (SIZE) is "": it must be an integer');
});

test('help: a row for each flag, switches that are on with their way off', () => {
  expect(helpRows(table).split('\n')).toEqual([
    '  --size                       how large [7]  (SIZE)',
    '  --low                        may be below zero [0]',
    '  --[no-]warm                  or cold [true]  (WARM)',
    '  --loud                       or quiet',
    '  --word                       any number of them',
  ]);
});

test('serve and generate share the engine’s flags; only the default of the mode differs', () => {
  for (const [name, flag] of Object.entries(GENERATE_FLAGS as FlagTable)) {
    if (flag.env === null) continue;
    expect((SERVE_FLAGS as FlagTable)[name]).toEqual(name === 'mode' ? { ...flag, fallback: 'balanced' } : flag);
  }
  const help = generateHelp();
  for (const name of Object.keys(GENERATE_FLAGS)) expect(help).toMatch(new RegExp(`^  --(\\[no-\\])?${name} `, 'm'));
});

test('generate: sampling flags become parameters, engine flags a configuration', () => {
  const args = [
    ...['--prompt', 'a', '--prompt', 'b', '--temperature', '0.7', '--max-tokens', '128', '--top-k', '-1'],
    ...['--frequency-penalty', '-0.5', '--stop', 'x,y', '--stop', 'z', '--stop-token-ids', '3,4', '--ignore-eos'],
    ...['--repeat', '1000', '--max-num-seqs', '8', '--no-enable-prefix-caching'],
  ];
  expect(readGenerateConfig(args, { MILLRACE_THREADS: '3' })).toMatchObject({
    ...{
      input: { prompts: ['a', 'b'] },
      repeat: 1000,
      output: null,
      existing: 'refuse',
      ordered: false,
      progress: true,
    },
    params: {
      ...{ temperature: 0.7, maxTokens: 128, topK: -1, frequencyPenalty: -0.5, ignoreEos: true },
      ...{ stop: ['x,y', 'z'], stopTokenIds: [3, 4] },
    },
    engine: { maxNumSeqs: 8, threads: 3, policy: { mode: 'throughput', prefixCaching: false } },
  });
});

test.each([
  [[], /nothing to generate from: give --prompt or --input/],
  [['--prompt', 'a', '--input', 'b'], /--input and --prompt are both given/],
  [['--prompt', 'a', '--temperature', '3'], /^ConfigError: --temperature must be at most 2/],
  [['--prompt', 'a', '--temperature', 'hot'], /^ConfigError: --temperature must be a number, not "hot"/],
  [['--prompt', 'a', '--stop-token-ids', '3,x'], /^ConfigError: --stop-token-ids must be a number, not "x"/],
  [
    ['--prompt', 'a', '--min-tokens', '9', '--max-tokens', '3'],
    /^ConfigError: --min-tokens is 9, above the limit of 3/,
  ],
  [['--prompt', 'a', '--overwrite', '--resume', '--output', 'x'], /--overwrite and --resume are both given/],
  [['--prompt', 'a', '--resume'], /--resume needs --output/],
  [['--prompt', 'a', '--repeat', '0'], /--repeat is "0": it must be an integer from 1/],
  [
    ['--prompt', 'a', '--max-num-seqs', '9', '--max-num-batched-tokens', '8'],
    /--max-num-batched-tokens .* is "8": it must be at least 9/,
  ],
  [['--prompt', 'a', '--nats-url', 'x'], /'--nats-url'/],
])('generate refuses %j', (args, message) => {
  const error = thrownBy(() => readGenerateConfig(args, {}));
  expect(error).toBeInstanceOf(ConfigError);
  expect(String(error)).toMatch(message);
});
