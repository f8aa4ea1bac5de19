/** The command line of `npm start`: the stack's own flags, and those that go on to its worker. */
import { SERVE_FLAGS, type FlagTable } from '../../gpu-worker/cli/flags.ts';
import { helpRows, readFlags, type Environment } from '../../gpu-worker/cli/settings.ts';

// Where the parts listen and meet is the stack's business.
const {
  'nats-url': _natsUrl,
  'http-host': _httpHost,
  'http-port': _httpPort,
  'worker-id': _workerId,
  ...WORKER_FLAGS
} = SERVE_FLAGS;

const STACK_FLAGS = {
  port: { env: null, help: 'first port to try for the edge', fallback: '8787' },
  verbose: { env: null, help: 'print everything the parts print', fallback: 'false', kind: 'switch' },
} as const satisfies FlagTable;

export interface StartOptions {
  readonly model: string;
  /** First one to try. */
  readonly port: number;
  readonly verbose: boolean;
  /** For the worker, beside the model. */
  readonly workerFlags: readonly string[];
}

/** Null: help was asked for. Throws a ConfigError that names the flag. */
export function readStartOptions(args: readonly string[], env: Environment): StartOptions | null {
  const settings = readFlags({ ...STACK_FLAGS, ...WORKER_FLAGS }, args, env);
  if (settings === null) return null;
  const names = (Object.keys(WORKER_FLAGS) as (keyof typeof WORKER_FLAGS)[]).filter((name) => name !== 'model');
  return {
    model: settings.text('model'),
    port: settings.integer('port', 1, 65_535),
    verbose: settings.boolean('verbose'),
    workerFlags: names.flatMap((name) => settings.list(name).map((value) => `--${name}=${value}`)),
  };
}

export function startHelp(): string {
  return `npm start [-- flags]

nats-server, a worker and the edge, until Ctrl-C. With NATS_URL, NATS_WS_URL, NATS_USER and NATS_PASSWORD set, that
server is used and none is started.

${helpRows(STACK_FLAGS)}
  --help

Of the worker
${helpRows(WORKER_FLAGS)}`;
}
