/** The configuration: flags, then environment, then defaults; checked once and frozen. The only reader of the environment. */
import { randomBytes } from 'node:crypto';
import { homedir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { isMainThread } from 'node:worker_threads';
import { SUBJECT_TOKEN } from '../shared/subjects.ts';
import { GENERATE_FLAGS, OFFLINE_ENGINE_FLAGS, PERPLEXITY_FLAGS, SERVE_FLAGS, type ENGINE_FLAGS } from './cli/flags.ts';
import { ConfigError, helpRows, readFlags, Settings, type Environment } from './cli/settings.ts';
import type { EngineOptions } from './engine/engine-options.ts';
import { modelPlace, type HubSettings } from './model/hub.ts';
import { BLOCK_SIZES, DEFAULT_BLOCK_SIZE, QUANTIZATIONS, type BlockSize } from './model/quantize/scheme.ts';
import { DEVICES, DTYPES, KV_CACHE_DTYPES } from './model/device.ts';
import { camelCase } from './spelling.ts';

export { ConfigError };

/** What the engine is opened with, its model under the name of the flag: a folder or the id of a hub model. */
export interface EngineConfig extends Omit<EngineOptions, 'folder'> {
  readonly model: string;
  /** Of a hub model; null = main. */
  readonly revision: string | null;
  readonly hub: HubSettings;
}

export interface Config extends EngineConfig {
  readonly names: readonly string[];
  readonly maxWaiting: number;
  readonly maxQueuedPrefillTokens: number;
  readonly workerId: string;
  readonly nats: { readonly url: string; readonly user: string | undefined; readonly password: string | undefined };
  readonly httpHost: string;
  readonly httpPort: number;
  readonly leaseMs: number;
  readonly retainMs: number;
  readonly stepTimeoutMs: number;
  readonly drainTimeoutMs: number;
}

export function helpText(): string {
  const about = 'Serves a model on the bus: needs a nats-server, and an edge that speaks HTTP.';
  const secrets =
    'By environment only: NATS_USER, NATS_PASSWORD, and HF_TOKEN, HF_HUB_OFFLINE, HF_ENDPOINT, HF_HUB_CACHE of the hub.';
  return `millrace serve [flags]\n\n${about}\n\n${helpRows(SERVE_FLAGS)}\n  --help\n\n${secrets}`;
}

/** Of `millrace serve`. Null: help was asked for. */
export function readConfig(args: readonly string[], env: Environment = process.env): Config | null {
  const settings = readFlags(SERVE_FLAGS, args, env);
  if (settings === null) return null;
  const engine = engineConfig(settings, orNull(settings.integer('ttft-ms', 0, 3_600_000)));
  const names = servedNames(settings.text('served-model-name'));
  return Object.freeze({
    ...engine,
    names: names.length > 0 ? names : usualNames(engine.model),
    maxWaiting: settings.integer('max-waiting', 0, 1_000_000),
    maxQueuedPrefillTokens: settings.integer('max-queued-prefill-tokens', 1, 1_000_000_000),
    workerId: workerId(settings.text('worker-id')),
    nats: { url: settings.text('nats-url'), user: env['NATS_USER'], password: env['NATS_PASSWORD'] },
    httpHost: settings.text('http-host'),
    httpPort: settings.integer('http-port', 0, 65_535),
    leaseMs: settings.integer('lease-ms', 100, 3_600_000),
    retainMs: settings.integer('retain-ms', 0, 86_400_000),
    stepTimeoutMs: settings.integer('step-timeout-ms', 100, 86_400_000),
    drainTimeoutMs: settings.integer('drain-timeout-ms', 0, 86_400_000),
  });
}

/** Of `millrace generate`. Null: help was asked for. */
export function readGenerateFlags(
  args: readonly string[],
  env: Environment = process.env,
): Settings<keyof typeof GENERATE_FLAGS> | null {
  return readFlags(GENERATE_FLAGS, args, env);
}

/** Of `millrace perplexity`. Null: help was asked for. */
export function readPerplexityFlags(
  args: readonly string[],
  env: Environment = process.env,
): Settings<keyof typeof PERPLEXITY_FLAGS> | null {
  return readFlags(PERPLEXITY_FLAGS, args, env);
}

/** Options of LLM.load by name, their values as they came. */
export function engineConfigOf(options: Readonly<Record<string, unknown>>): EngineConfig {
  const values = new Map<string, readonly string[]>();
  const names = new Map(engineFlags.map((name) => [optionName(name), name]));
  for (const [option, value] of Object.entries(options)) {
    const name = names.get(option);
    if (name === undefined) {
      throw new ConfigError(`${option} is not an option of LLM.load: it has ${[...names.keys()].join(', ')}`);
    }
    if (value !== undefined && value !== null) values.set(name, [String(value)]);
  }
  return engineConfig(new Settings({ table: OFFLINE_ENGINE_FLAGS, values, env: {}, label: optionName }), null);
}

type EngineFlag = keyof typeof ENGINE_FLAGS;

const engineFlags = Object.keys(OFFLINE_ENGINE_FLAGS) as EngineFlag[];

/** The library serves any device, so its option does not say GPU. */
function optionName(name: EngineFlag): string {
  return name === 'gpu-memory-utilization' ? 'memoryUtilization' : camelCase(name);
}

/** `label`: how its user writes the setting. */
export function unknownModel(label: string, model: string): ConfigError {
  const reason = 'there is no config.json in that folder, nor is it the owner/name of a model on the hub';
  return new ConfigError(`${label} is "${model}": ${reason}`);
}

/** Null: the model takes sequences as long as was asked for. The default is nobody's wish. */
export function loweredLength(asked: number, most: number): string | null {
  if (asked <= most || String(asked) === OFFLINE_ENGINE_FLAGS['max-model-len'].fallback) return null;
  return `--max-model-len (maxModelLen) is ${asked}: it is lowered to ${most}, the longest that the model was made for`;
}

/** Ranges of the engine's settings, wherever they come from. */
export function engineConfig(
  settings: Pick<Settings<EngineFlag>, 'text' | 'integer' | 'fraction' | 'oneOf' | 'boolean' | 'label'>,
  ttftMs: number | null,
): EngineConfig {
  const maxNumSeqs = orNull(settings.integer('max-num-seqs', 0, 4096));
  const maxNumBatchedTokens = orNull(settings.integer('max-num-batched-tokens', 0, 1_000_000));
  if (maxNumSeqs !== null && maxNumBatchedTokens !== null && maxNumBatchedTokens < maxNumSeqs) {
    const least = `${maxNumSeqs}, as every sequence that runs needs a token of the step: lower ${settings.label('max-num-seqs')} or raise it`;
    throw new ConfigError(
      `${settings.label('max-num-batched-tokens')} is "${maxNumBatchedTokens}": it must be at least ${least}`,
    );
  }
  return Object.freeze({
    model: settings.text('model'),
    revision: settings.text('revision') || null,
    hub: hubSettings(),
    quantization: settings.oneOf('quantization', QUANTIZATIONS),
    quantizationBlockSize: blockSize(settings),
    quantizationSymmetric: settings.boolean('quantization-symmetric'),
    quantizationCache: quantizationCache(settings.text('quantization-cache')),
    pruneLayers: settings.integer('prune-layers', 0, 1023),
    pruneCalibration: settings.text('prune-calibration') || null,
    maxModelLen: settings.integer('max-model-len', 16, 10_000_000),
    maxNumSeqs,
    maxNumBatchedTokens,
    kvCacheTokens: orNull(settings.integer('kv-cache-tokens', 0, 1_000_000_000)),
    memoryUtilization: settings.fraction('gpu-memory-utilization'),
    threads: settings.integer('threads', 1, 1024),
    device: settings.oneOf('device', DEVICES),
    gpu: settings.integer('gpu', 0, 1023),
    dtype: settings.oneOf('dtype', DTYPES),
    kvCacheDtype: settings.oneOf('kv-cache-dtype', KV_CACHE_DTYPES),
    graphBytes: settings.integer('cuda-graph-memory-mib', 0, 1_000_000) * 2 ** 20,
    policy: Object.freeze({
      mode: settings.oneOf('mode', ['latency', 'balanced', 'throughput']),
      prefixCaching: settings.boolean('enable-prefix-caching'),
      speculation: settings.oneOf('speculation', ['auto', 'off']),
      ttftMs,
      itlMs: orNull(settings.integer('itl-ms', 0, 3_600_000)),
    }),
  });
}

/**
 * ONNX Runtime looks for this variable when its library is loaded. Only the main thread's assignment reaches the
 * process's real environment, so elsewhere whoever starts the process must set it.
 */
export function disableOrtTelemetry(): void {
  if (isMainThread) process.env['ORT_DISABLE_TELEMETRY'] = '1';
}

function blockSize(settings: Pick<Settings<EngineFlag>, 'oneOf'>): BlockSize {
  const text = settings.oneOf('quantization-block-size', BLOCK_SIZES.map(String));
  return BLOCK_SIZES.find((size) => String(size) === text) ?? DEFAULT_BLOCK_SIZE;
}

/** By default in the user's cache, as the XDG base directory specification has it. */
function quantizationCache(text: string): string | null {
  if (text === 'none') return null;
  if (text !== '') return resolve(text);
  const base = process.env['XDG_CACHE_HOME'] ?? '';
  return join(base === '' ? join(homedir(), '.cache') : base, 'millrace');
}

/** The variables of huggingface_hub. */
function hubSettings(env: Environment = process.env): HubSettings {
  const set = (name: string): string | null => env[name]?.trim() || null;
  const userCache = set('XDG_CACHE_HOME') ?? join(homedir(), '.cache');
  const home = set('HF_HOME') ?? join(userCache, 'huggingface');
  return Object.freeze({
    endpoint: set('HF_ENDPOINT'),
    token: set('HF_TOKEN'),
    offline: /^(?:1|true|yes|on)$/i.test(set('HF_HUB_OFFLINE') ?? ''),
    cache: set('HF_HUB_CACHE') ?? join(home, 'hub'),
  });
}

function orNull(value: number): number | null {
  return value === 0 ? null : value;
}

/** A hub model goes by its id, as in vLLM, and by its name alone; a folder by its own name, also where it is `.`. */
function usualNames(model: string): readonly string[] {
  return modelPlace(model) === 'hub' ? [model, basename(model)] : [basename(resolve(model))];
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
