/** Every flag of the command line: its variable, help and default, by the command that takes it. Reads nothing. */
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { DEFAULT_LEASE_MS } from '../../shared/protocol.ts';

export interface Flag {
  /** The variable that stands in for it; null = by flag alone. */
  readonly env: string | null;
  readonly help: string;
  /** Empty: not given. */
  readonly fallback: string;
  /** What help shows where the default is not worth reading. */
  readonly shown?: string;
  /** text: the default. switch: alone it means true, as --no-<name> false. list: may be given several times. */
  readonly kind?: 'text' | 'switch' | 'list';
}

export type FlagTable<TName extends string = string> = Readonly<Record<TName, Flag>>;

const EMBEDDED_MODEL = fileURLToPath(new URL('../../models/millrace-mini', import.meta.url));

/** Of the model and its engine, for every command and for LLM.load. Names follow vLLM's where it has them. */
export const ENGINE_FLAGS = {
  model: {
    env: 'MILLRACE_MODEL',
    help: 'Hugging Face folder, or owner/name of a model on the hub',
    fallback: EMBEDDED_MODEL,
    shown: 'the embedded model',
  },
  revision: {
    env: 'MILLRACE_REVISION',
    help: 'branch, tag or commit of a model on the hub',
    fallback: '',
    shown: 'main',
  },
  quantization: { env: 'MILLRACE_QUANTIZATION', help: 'none, int8 or int4', fallback: 'none' },
  'quantization-block-size': {
    env: 'MILLRACE_QUANTIZATION_BLOCK_SIZE',
    help: 'weights that share a scale: 32, 64 or 128; larger is smaller, faster and coarser',
    fallback: '32',
  },
  'quantization-symmetric': {
    env: 'MILLRACE_QUANTIZATION_SYMMETRIC',
    help: 'without zero points; with them blocks are finer, larger and slower',
    fallback: 'true',
    kind: 'switch',
  },
  'quantization-cache': {
    env: 'MILLRACE_QUANTIZATION_CACHE',
    help: 'folder that keeps quantized weights for the next load; none = do not keep them',
    fallback: '',
    shown: '~/.cache/millrace',
  },
  'prune-layers': {
    env: 'MILLRACE_PRUNE_LAYERS',
    help: 'layers to drop: those without which the calibration texts are foretold best',
    fallback: '0',
  },
  'prune-calibration': {
    env: 'MILLRACE_PRUNE_CALIBRATION',
    help: 'text file, or .jsonl with a text or chat a line (default: calibration.jsonl in the model’s folder)',
    fallback: '',
  },
  'max-model-len': { env: 'MILLRACE_MAX_MODEL_LEN', help: 'longest prompt + output, tokens', fallback: '4096' },
  'max-num-seqs': {
    env: 'MILLRACE_MAX_NUM_SEQS',
    help: 'sequences that run at once; 0 = the default',
    fallback: '0',
    shown: '32, on a GPU 256',
  },
  'max-num-batched-tokens': {
    env: 'MILLRACE_MAX_NUM_BATCHED_TOKENS',
    help: 'token budget of a step; 0 = the default',
    fallback: '0',
    shown: '512, on a GPU 8192',
  },
  mode: {
    env: 'MILLRACE_MODE',
    help: 'latency, balanced or throughput: how steps weigh running streams against prompts',
    fallback: 'balanced',
  },
  'itl-ms': {
    env: 'MILLRACE_ITL_MS',
    help: 'keep the gap between tokens of running streams below this; 0 = the mode’s own',
    fallback: '0',
  },
  'enable-prefix-caching': {
    env: 'MILLRACE_ENABLE_PREFIX_CACHING',
    help: 'reuse the KV of equal prompt beginnings',
    fallback: 'true',
    kind: 'switch',
  },
  speculation: {
    env: 'MILLRACE_SPECULATION',
    help: 'auto: draft by prompt lookup where it pays; off',
    fallback: 'auto',
  },
  'gpu-memory-utilization': {
    env: 'MILLRACE_GPU_MEMORY_UTILIZATION',
    help: 'share of the device’s memory (CPU: of the machine’s) for weights and KV cache',
    fallback: '0.9',
  },
  'kv-cache-tokens': {
    env: 'MILLRACE_KV_CACHE_TOKENS',
    help: 'tokens of KV cache; 0 = what the memory allows',
    fallback: '0',
  },
  device: { env: 'MILLRACE_DEVICE', help: 'auto: a GPU where one can be used; cpu; cuda', fallback: 'auto' },
  gpu: { env: 'MILLRACE_GPU', help: 'number of the GPU; one worker serves one GPU', fallback: '0' },
  dtype: { env: 'MILLRACE_DTYPE', help: 'on a GPU auto (as stored), float16 or bfloat16', fallback: 'auto' },
  'kv-cache-dtype': {
    env: 'MILLRACE_KV_CACHE_DTYPE',
    help: 'keys and values: auto; on a CPU float32 or int8, a quarter of the memory; on a GPU float16, fp8 or int8',
    fallback: 'auto',
  },
  'cuda-graph-memory-mib': {
    env: 'MILLRACE_CUDA_GRAPH_MEMORY_MIB',
    help: 'MiB of a GPU’s memory set aside for CUDA graphs of decode steps; 0 = none, every step kernel by kernel',
    fallback: '512',
  },
  threads: { env: 'MILLRACE_THREADS', help: 'threads inside the model', fallback: String(availableParallelism()) },
} as const satisfies FlagTable;

/** Offline nobody waits for a next token, so steps are as large as they may be. */
export const OFFLINE_ENGINE_FLAGS = {
  ...ENGINE_FLAGS,
  mode: { ...ENGINE_FLAGS.mode, fallback: 'throughput' },
} as const satisfies FlagTable;

/** `millrace serve`. */
export const SERVE_FLAGS = {
  ...ENGINE_FLAGS,
  'served-model-name': {
    env: 'MILLRACE_SERVED_MODEL_NAME',
    help: 'names clients use, by comma or flag by flag; the first is canonical (default: the folder’s name)',
    fallback: '',
    kind: 'list',
  },
  'ttft-ms': {
    env: 'MILLRACE_TTFT_MS',
    help: 'refuse prompts whose first token would come later; 0 = none',
    fallback: '0',
  },
  'max-waiting': { env: 'MILLRACE_MAX_WAITING', help: 'sequences that may wait', fallback: '256' },
  'max-queued-prefill-tokens': {
    env: 'MILLRACE_MAX_QUEUED_PREFILL_TOKENS',
    help: 'prompt tokens that may wait',
    fallback: '131072',
  },
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
} as const satisfies FlagTable;

const own = { env: null, fallback: '' } as const;

/** Sampling of `millrace generate`; what a line of the input says wins. */
export const SAMPLING_FLAGS = {
  'max-tokens': { ...own, help: 'output tokens at most (default: what the context holds)' },
  'min-tokens': { ...own, help: 'no end before so many output tokens' },
  n: { ...own, help: 'choices for each prompt' },
  temperature: { ...own, help: '0 = greedy (default: the model’s own)' },
  'top-p': { ...own, help: 'smallest set of tokens whose probability reaches this' },
  'top-k': { ...own, help: 'the k most likely tokens; 0 = off' },
  'min-p': { ...own, help: 'tokens at least this times as likely as the likeliest' },
  'repetition-penalty': { ...own, help: '1 = off' },
  'frequency-penalty': { ...own, help: 'from -2 to 2' },
  'presence-penalty': { ...own, help: 'from -2 to 2' },
  logprobs: { ...own, help: 'log probabilities of output tokens, with so many alternatives' },
  seed: { ...own, help: 'the same for every request: equal prompts then give equal texts' },
  stop: { ...own, help: 'end before this text', kind: 'list' },
  'stop-token-ids': { ...own, help: 'end at this token', kind: 'list' },
  'ignore-eos': { ...own, help: 'go on through end-of-sequence tokens', kind: 'switch' },
} as const satisfies FlagTable;

/** `millrace generate`: what to read and where to write. */
export const BATCH_FLAGS = {
  input: { ...own, help: 'file of prompts, one JSON value a line' },
  prompt: { ...own, help: 'a prompt, instead of a file', kind: 'list' },
  chat: {
    env: null,
    help: 'a prompt’s text is what a user says: the chat template goes around it',
    fallback: 'false',
    kind: 'switch',
  },
  repeat: { env: null, help: 'run every prompt so many times', fallback: '1' },
  output: { env: null, help: 'file for the results, one JSON object a line; - = standard output', fallback: '-' },
  ordered: {
    env: null,
    help: 'results in the order of the prompts, not as they end',
    fallback: 'false',
    kind: 'switch',
  },
  overwrite: { env: null, help: 'replace the output file', fallback: 'false', kind: 'switch' },
  resume: {
    env: null,
    help: 'keep the results in the output file, run the rest, and again what failed by no fault of its own',
    fallback: 'false',
    kind: 'switch',
  },
  'skip-bad-lines': {
    env: null,
    help: 'write bad lines to the output as errors; without it one stops the command before anything runs',
    fallback: 'false',
    kind: 'switch',
  },
  progress: { env: null, help: 'show progress on standard error', fallback: 'true', kind: 'switch' },
} as const satisfies FlagTable;

/** `millrace perplexity`: what the model is judged by; of the engine's flags those of the model count. */
export const PERPLEXITY_FLAGS = {
  input: { ...own, help: 'texts to foretell: .jsonl with a text, prompt or chat a line, or one text' },
  progress: BATCH_FLAGS.progress,
  ...OFFLINE_ENGINE_FLAGS,
} as const satisfies FlagTable;

const { model, revision, quantization, device, gpu, dtype, threads } = OFFLINE_ENGINE_FLAGS;
/** What its help shows. */
export const PERPLEXITY_HELP = {
  ...{ input: PERPLEXITY_FLAGS.input, model, revision, quantization },
  'quantization-block-size': OFFLINE_ENGINE_FLAGS['quantization-block-size'],
  'quantization-symmetric': OFFLINE_ENGINE_FLAGS['quantization-symmetric'],
  'quantization-cache': OFFLINE_ENGINE_FLAGS['quantization-cache'],
  'prune-layers': OFFLINE_ENGINE_FLAGS['prune-layers'],
  'prune-calibration': OFFLINE_ENGINE_FLAGS['prune-calibration'],
  ...{ device, gpu, dtype },
  'kv-cache-dtype': OFFLINE_ENGINE_FLAGS['kv-cache-dtype'],
  ...{ threads, progress: BATCH_FLAGS.progress },
} as const satisfies FlagTable;

export const GENERATE_FLAGS = {
  ...BATCH_FLAGS,
  ...SAMPLING_FLAGS,
  ...OFFLINE_ENGINE_FLAGS,
} as const satisfies FlagTable;

export const GENERATE_HELP_GROUPS: readonly (readonly [title: string, FlagTable])[] = [
  ['Prompts and results', BATCH_FLAGS],
  ['Sampling, where a line says nothing', SAMPLING_FLAGS],
  ['Model and engine', OFFLINE_ENGINE_FLAGS],
];
