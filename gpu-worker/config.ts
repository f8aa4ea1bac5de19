/** The worker's configuration: flags, then environment, then defaults; checked once and frozen. The only reader of the environment. */
import { availableParallelism } from 'node:os';
import { basename } from 'node:path';
import { randomBytes } from 'node:crypto';
import { parseArgs } from 'node:util';
import { SUBJECT_TOKEN } from '../shared/subjects.ts';
import { DEFAULT_LEASE_MS } from '../shared/protocol.ts';

interface Flag {
  readonly env: string;
  readonly help: string;
  readonly fallback: string;
}

/** Flag names follow vLLM's where it has them. */
const FLAGS = {
  model: { env: 'MILLRACE_MODEL', help: 'Hugging Face folder to serve', fallback: 'models/millrace-mini' },
  'served-model-name': {
    env: 'MILLRACE_SERVED_MODEL_NAME',
    help: 'names clients use, by comma or flag by flag; the first is canonical (default: the folder’s name)',
    fallback: '',
  },
  quantization: { env: 'MILLRACE_QUANTIZATION', help: 'none, int8 or int4', fallback: 'none' },
  'max-model-len': { env: 'MILLRACE_MAX_MODEL_LEN', help: 'longest prompt + output, tokens', fallback: '4096' },
  'max-num-seqs': { env: 'MILLRACE_MAX_NUM_SEQS', help: 'sequences that run at once', fallback: '32' },
  'max-num-batched-tokens': { env: 'MILLRACE_MAX_NUM_BATCHED_TOKENS', help: 'token budget of a step', fallback: '512' },
  'max-waiting': { env: 'MILLRACE_MAX_WAITING', help: 'requests that may wait for a slot', fallback: '256' },
  'max-queued-prefill-tokens': {
    env: 'MILLRACE_MAX_QUEUED_PREFILL_TOKENS',
    help: 'prompt tokens that may wait',
    fallback: '131072',
  },
  threads: { env: 'MILLRACE_THREADS', help: 'threads inside the model', fallback: String(availableParallelism()) },
  'worker-id': {
    env: 'MILLRACE_WORKER_ID',
    help: 'id on the bus: letters, digits, _ and - (default: random)',
    fallback: '',
  },
  'nats-url': { env: 'NATS_URL', help: 'nats-server', fallback: 'nats://127.0.0.1:4222' },
  'http-host': { env: 'MILLRACE_HTTP_HOST', help: 'address of /health, /live and /metrics', fallback: '127.0.0.1' },
  'http-port': { env: 'MILLRACE_HTTP_PORT', help: 'port of the same', fallback: '9090' },
  'lease-ms': {
    env: 'MILLRACE_LEASE_MS',
    help: 'a silent gateway’s requests end after this',
    fallback: String(DEFAULT_LEASE_MS),
  },
  'retain-ms': { env: 'MILLRACE_RETAIN_MS', help: 'ended streams can be replayed for this long', fallback: '120000' },
  'step-timeout-ms': {
    env: 'MILLRACE_STEP_TIMEOUT_MS',
    help: 'a step longer than this is hung: the worker ends',
    fallback: '60000',
  },
  'drain-timeout-ms': {
    env: 'MILLRACE_DRAIN_TIMEOUT_MS',
    help: 'running requests get this long after SIGTERM',
    fallback: '300000',
  },
} as const satisfies Record<string, Flag>;

type FlagName = keyof typeof FLAGS;

export interface Config {
  readonly model: string;
  readonly names: readonly string[];
  readonly quantization: 'none' | 'int8' | 'int4';
  readonly maxModelLen: number;
  readonly maxNumSeqs: number;
  readonly maxNumBatchedTokens: number;
  readonly maxWaiting: number;
  readonly maxQueuedPrefillTokens: number;
  readonly threads: number;
  readonly workerId: string;
  readonly nats: { readonly url: string; readonly user: string | undefined; readonly password: string | undefined };
  readonly httpHost: string;
  readonly httpPort: number;
  readonly leaseMs: number;
  readonly retainMs: number;
  readonly stepTimeoutMs: number;
  readonly drainTimeoutMs: number;
}

/** A flag or variable that cannot be used; the message names it. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

export function helpText(): string {
  const rows = Object.entries(FLAGS).map(([name, { env, help, fallback }]) => {
    const tail = fallback === '' ? '' : ` [${fallback}]`;
    return `  --${name.padEnd(26)} ${help}${tail}  (${env})`;
  });
  return `millrace worker\n\n${rows.join('\n')}\n  --help\n\nNATS_USER and NATS_PASSWORD come by environment only.`;
}

/** Null: help was asked for. */
export function readConfig(args: readonly string[], env: NodeJS.ProcessEnv = process.env): Config | null {
  const flags = parseFlags(args);
  if (flags['help'] === true) return null;
  const text = (name: FlagName): string => {
    const given = flags[name];
    return Array.isArray(given) ? given.join(',') : (env[FLAGS[name].env] ?? FLAGS[name].fallback);
  };
  const number = (name: FlagName, min: number, max: number): number => {
    const value = Number(text(name));
    if (Number.isInteger(value) && value >= min && value <= max) return value;
    throw new ConfigError(
      `--${name} (${FLAGS[name].env}) is "${text(name)}": it must be an integer from ${min} to ${max}`,
    );
  };
  const model = text('model');
  const names = servedNames(text('served-model-name'));
  return Object.freeze({
    model,
    names: names.length > 0 ? names : [basename(model)],
    quantization: quantization(text('quantization')),
    maxModelLen: number('max-model-len', 16, 10_000_000),
    maxNumSeqs: number('max-num-seqs', 1, 4096),
    maxNumBatchedTokens: number('max-num-batched-tokens', 1, 1_000_000),
    maxWaiting: number('max-waiting', 0, 1_000_000),
    maxQueuedPrefillTokens: number('max-queued-prefill-tokens', 1, 1_000_000_000),
    threads: number('threads', 1, 1024),
    workerId: workerId(text('worker-id')),
    nats: { url: text('nats-url'), user: env['NATS_USER'], password: env['NATS_PASSWORD'] },
    httpHost: text('http-host'),
    httpPort: number('http-port', 0, 65_535),
    leaseMs: number('lease-ms', 100, 3_600_000),
    retainMs: number('retain-ms', 0, 86_400_000),
    stepTimeoutMs: number('step-timeout-ms', 100, 86_400_000),
    drainTimeoutMs: number('drain-timeout-ms', 0, 86_400_000),
  });
}

/** Each flag's values; only the served names may have several. */
function parseFlags(args: readonly string[]): Record<string, readonly string[] | boolean | undefined> {
  const option = { type: 'string', multiple: true } as const;
  const options = Object.fromEntries(Object.keys(FLAGS).map((name) => [name, option]));
  try {
    const { values } = parseArgs({ args: [...args], options: { ...options, help: { type: 'boolean' } } });
    for (const [name, given] of Object.entries(values)) {
      if (!Array.isArray(given) || given.length < 2 || name === 'served-model-name') continue;
      throw new ConfigError(`--${name} is given ${given.length} times`);
    }
    return values;
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw new ConfigError(`${error instanceof Error ? error.message : String(error)} (--help lists the flags)`);
  }
}

function quantization(text: string): Config['quantization'] {
  if (text === 'none' || text === 'int8' || text === 'int4') return text;
  throw new ConfigError(`--quantization (MILLRACE_QUANTIZATION) is "${text}": it must be none, int8 or int4`);
}

function servedNames(text: string): readonly string[] {
  const names = text.split(',').map((name) => name.trim());
  const given = [...new Set(names.filter((name) => name !== ''))];
  if (given.length <= 64 && given.every((name) => name.length <= 256)) return given;
  throw new ConfigError('--served-model-name (MILLRACE_SERVED_MODEL_NAME): at most 64 names of at most 256 characters');
}

function workerId(text: string): string {
  const id = text === '' ? `w${randomBytes(4).toString('hex')}` : text;
  if (SUBJECT_TOKEN.test(id) && id !== 'all') return id;
  throw new ConfigError(
    `--worker-id (MILLRACE_WORKER_ID) is "${id}": only letters, digits, _ and -, at most 64, not "all"`,
  );
}
