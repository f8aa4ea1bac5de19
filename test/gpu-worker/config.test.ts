import { expect, test } from 'vitest';
import { ConfigError, helpText, readConfig } from '../../gpu-worker/config.ts';
import { thrownBy } from '../support/thrown.ts';

test('flags win over the environment, the environment over defaults', () => {
  const env = { MILLRACE_THREADS: '3', MILLRACE_MAX_NUM_SEQS: '7', NATS_PASSWORD: 'secret' };
  expect(readConfig(['--threads', '5'], env)).toMatchObject({
    ...{ threads: 5, maxNumSeqs: 7, maxNumBatchedTokens: 512 },
    nats: { url: 'nats://127.0.0.1:4222', user: undefined, password: 'secret' },
  });
});

test('names: the first is canonical; without any, the folder’s', () => {
  expect(readConfig(['--served-model-name', 'a, b,'], {})?.names).toEqual(['a', 'b']);
  expect(readConfig(['--model', '/models/some-model'], {})?.names).toEqual(['some-model']);
});

test('a random worker id is new each time', () => {
  expect(readConfig([], {})?.workerId).not.toBe(readConfig([], {})?.workerId);
});

test.each([
  [['--threads', '0'], '--threads'],
  [['--threads', '1.5'], 'MILLRACE_THREADS'],
  [['--quantization', 'int3'], '--quantization'],
  [['--worker-id', 'a.b'], '--worker-id'],
  [['--worker-id', 'all'], '--worker-id'],
  [['--http-port', '65536'], '--http-port'],
  [['--no-such-flag', '1'], '--no-such-flag'],
])('%j is refused with its name', (args, name) => {
  const error = thrownBy(() => readConfig(args, {}));
  expect(error).toBeInstanceOf(ConfigError);
  expect(String(error)).toContain(name);
});

test('help lists flags with defaults and variables', () => {
  expect(readConfig(['--help'], {})).toBeNull();
  expect(helpText()).toMatch(/--max-num-batched-tokens +token budget of a step \[512\] {2}\(MILLRACE_/);
});
