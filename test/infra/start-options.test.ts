/** The command line of `npm start`. Pure. */
import { expect, test } from 'vitest';
import { ConfigError } from '../../gpu-worker/cli/settings.ts';
import { readStartOptions, startHelp } from '../../infra/dev/start-options.ts';

test('alone it serves the embedded model', () => {
  const options = readStartOptions([], {});
  expect(options).toMatchObject({ port: 8787, verbose: false, workerFlags: [] });
  expect(options?.model).toMatch(/models\/millrace-mini$/);
});

test('flags of the worker go on to it as they were given', () => {
  const args = ['--model', 'm', '--quantization', 'int4', '--no-enable-prefix-caching', '--port=9000', '--verbose'];
  expect(readStartOptions(args, {})).toEqual({
    ...{ model: 'm', port: 9000, verbose: true },
    workerFlags: ['--quantization=int4', '--enable-prefix-caching=false'],
  });
});

test.each([
  [['--port', 'abc'], /--port is "abc": it must be an integer from 1 to 65535/],
  [['--port', '70000'], /--port is "70000"/],
  [['--prot', '1'], /Unknown option '--prot' \(--help lists the flags\)/],
  [['--nats-url', 'x'], /Unknown option '--nats-url'/],
  [['folder'], /folder/],
])('%j is refused in words', (args, message) => {
  expect(() => readStartOptions(args, {})).toThrow(ConfigError);
  expect(() => readStartOptions(args, {})).toThrow(message);
});

test('help lists both kinds', () => {
  expect(readStartOptions(['--help'], {})).toBeNull();
  expect(startHelp()).toMatch(/--port[^]*--model[^]*--quantization/);
});
