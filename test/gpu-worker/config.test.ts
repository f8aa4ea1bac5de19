import { basename, isAbsolute } from 'node:path';
import { expect, test } from 'vitest';
import { ConfigError, engineConfigOf, helpText, loweredLength, readConfig } from '../../gpu-worker/config.ts';
import { thrownBy } from '../support/thrown.ts';

test('flags win over the environment, the environment over defaults', () => {
  const env = { MILLRACE_THREADS: '3', MILLRACE_MAX_NUM_SEQS: '7', NATS_PASSWORD: 'secret' };
  expect(readConfig(['--threads', '5'], env)).toMatchObject({
    ...{ threads: 5, maxNumSeqs: 7, maxNumBatchedTokens: null },
    nats: { url: 'nats://127.0.0.1:4222', user: undefined, password: 'secret' },
  });
});

test('names: the first is canonical; without any, the folder’s', () => {
  expect(readConfig(['--served-model-name', 'a, b,'], {})?.names).toEqual(['a', 'b']);
  expect(readConfig(['--model', '/models/some-model'], {})?.names).toEqual(['some-model']);
  expect(readConfig(['--model', 'Some/model'], {})?.names).toEqual(['Some/model', 'model']);
  const here = basename(process.cwd());
  expect(readConfig(['--model', '.'], {})?.names).toEqual([here]);
  expect(readConfig(['--model', 'test/..'], {})?.names).toEqual([here]);
});

test('a random worker id is new each time', () => {
  expect(readConfig([], {})?.workerId).not.toBe(readConfig([], {})?.workerId);
});

test('the embedded model is served from anywhere', () => {
  const config = readConfig([], {});
  expect(config?.names).toEqual(['millrace-mini']);
  expect(isAbsolute(config?.model ?? '')).toBe(true);
});

test('a step has a token for every sequence that runs', () => {
  expect(readConfig(['--max-num-seqs', '8', '--max-num-batched-tokens', '8'], {})).toMatchObject({ maxNumSeqs: 8 });
  expect(() => readConfig(['--max-num-seqs', '8', '--max-num-batched-tokens', '7'], {})).toThrow(
    /^--max-num-batched-tokens .* is "7": it must be at least 8, .*: lower --max-num-seqs .* or raise it$/,
  );
});

test('a length above the model’s own is told, but not the default', () => {
  expect(loweredLength(100_000, 4096)).toMatch(/^--max-model-len .* 100000: it is lowered to 4096/);
  expect([loweredLength(4096, 256), loweredLength(512, 512)]).toEqual([null, null]);
});

test.each([
  [['--enable-prefix-caching'], {}, true],
  [['--no-enable-prefix-caching'], {}, false],
  [['--enable-prefix-caching', 'false'], {}, false],
  [[], { MILLRACE_ENABLE_PREFIX_CACHING: 'false' }, false],
  [[], {}, true],
])('prefix caching: %j with %j', (args, env, prefixCaching) => {
  expect(readConfig(args, env)).toMatchObject({ policy: { prefixCaching, mode: 'balanced' } });
});

test('options of the library are named as there, and know no environment', () => {
  const config = engineConfigOf({
    maxNumSeqs: 4,
    memoryUtilization: 0.5,
    enablePrefixCaching: false,
    threads: undefined,
  });
  expect(config).toMatchObject({
    maxNumSeqs: 4,
    memoryUtilization: 0.5,
    policy: { prefixCaching: false, mode: 'throughput' },
  });
  expect(() => engineConfigOf({ gpuMemoryUtilization: 0.5 })).toThrow(
    /^gpuMemoryUtilization is not an option of LLM.load/,
  );
  expect(() => engineConfigOf({ threads: 0 })).toThrow('threads is "0": it must be an integer from 1 to 1024');
});

test.each([
  [['--threads', '0'], '--threads'],
  [['--threads', '1.5'], 'MILLRACE_THREADS'],
  [['--quantization', 'int3'], '--quantization'],
  [['--quantization-block-size', '48'], '--quantization-block-size'],
  [['--worker-id', 'a.b'], '--worker-id'],
  [['--worker-id', 'all'], '--worker-id'],
  [['--http-port', '65536'], '--http-port'],
  [['--no-such-flag', '1'], '--no-such-flag'],
])('%j is refused with its name', (args, name) => {
  const error = thrownBy(() => readConfig(args, {}));
  expect(error).toBeInstanceOf(ConfigError);
  expect(String(error)).toContain(name);
});

test.each([
  [[], {}, { quantizationBlockSize: 32, quantizationSymmetric: true }],
  [
    ['--quantization-block-size', '128', '--no-quantization-symmetric'],
    {},
    { quantizationBlockSize: 128, quantizationSymmetric: false },
  ],
  [['--quantization-cache', 'none'], {}, { quantizationCache: null }],
  [[], { MILLRACE_QUANTIZATION_CACHE: '/a/b' }, { quantizationCache: '/a/b' }],
])('quantization: %j with %j', (args, env, expected) => {
  expect(readConfig(args, env)).toMatchObject(expected);
});

test('help lists flags with defaults and variables', () => {
  expect(readConfig(['--help'], {})).toBeNull();
  expect(helpText()).toMatch(
    /--max-num-batched-tokens +token budget of a step; 0 = the default \[512, on a GPU 8192\] {2}\(MILLRACE_/,
  );
});
