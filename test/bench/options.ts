/** The serving benchmark's arguments, checked, with their defaults. Runs nothing. */
import { parseArgs } from 'node:util';
import { BENCH_MODELS, isBenchModel, type BenchModelName } from './models.ts';

export interface BenchOptions {
  readonly models: readonly BenchModelName[];
  /** Streams at once; each sends its next request when one has ended. */
  readonly concurrency: readonly number[];
  readonly rounds: number;
  /** A round sends this many requests, or one per stream where that is more. */
  readonly requests: number;
  /** Of every request, chat template included. */
  readonly promptTokens: number;
  /** Of every answer, exactly. */
  readonly maxTokens: number;
  /** Only the JSON line on stdout. */
  readonly jsonOnly: boolean;
}

const DEFAULTS = {
  ...{ models: 'mini,qwen', concurrency: '1,4,16,64', rounds: '3' },
  ...{ requests: '8', 'prompt-tokens': '128', 'max-tokens': '64' },
};
/** Every figure of it is meaningless; it shows that all parts work. */
const QUICK: typeof DEFAULTS = {
  ...{ models: 'tiny', concurrency: '1,4', rounds: '1' },
  ...{ requests: '1', 'prompt-tokens': '48', 'max-tokens': '16' },
};
type Name = keyof typeof DEFAULTS;

export const HELP = `npm run bench [-- options]
  --models <names>        by comma, of ${Object.keys(BENCH_MODELS).join(', ')} [${DEFAULTS.models}]
  --concurrency <numbers> streams at once, by comma [${DEFAULTS.concurrency}]
  --rounds <number>       times that each cell is measured, engine alone and whole path in turn [${DEFAULTS.rounds}]
  --requests <number>     requests a round, at least one per stream [${DEFAULTS.requests}]
  --prompt-tokens <n>     tokens of every prompt, chat template included [${DEFAULTS['prompt-tokens']}]
  --max-tokens <n>        tokens of every answer, exactly [${DEFAULTS['max-tokens']}]
  --quick                 a few seconds on a tiny model, to see that all parts work; other options still count
  --json-only             no table and no progress
  --help

Requests are chats of exactly that length, all different, with temperature 0.7, a seed each and ignore_eos.
Output: a table, then one line of JSON.`;

/** Null: help was asked for. Throws with the option's name and the fix. */
export function readOptions(args: readonly string[]): BenchOptions | null {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean', default: false } as const;
  const names = Object.fromEntries(Object.keys(DEFAULTS).map((name) => [name, text])) as Record<Name, typeof text>;
  const options = { ...names, quick: flag, 'json-only': flag, help: flag };
  const { values } = parseArgs({ args: [...args], options });
  if (values.help) return null;
  const given = { ...(values.quick ? QUICK : DEFAULTS), ...values };
  const number = (name: Name, min: number, max: number) => integer(name, given[name], { min, max });
  return {
    models: list('models', given.models).map(modelName),
    concurrency: list('concurrency', given.concurrency).map((each) => {
      return integer('concurrency', each, { min: 1, max: 256 });
    }),
    rounds: number('rounds', 1, 1000),
    requests: number('requests', 1, 10_000),
    promptTokens: number('prompt-tokens', 1, 100_000),
    // One token has no gap.
    maxTokens: number('max-tokens', 2, 100_000),
    jsonOnly: values['json-only'],
  };
}

/** Without repeats. */
export function list(name: string, text: string): readonly string[] {
  const items = [...new Set(text.split(',').map((item) => item.trim()))].filter((item) => item !== '');
  if (items.length > 0) return items;
  throw new Error(`--${name} is empty: give at least one`);
}

function modelName(name: string): BenchModelName {
  if (isBenchModel(name)) return name;
  throw new Error(`--models names "${name}": there are ${Object.keys(BENCH_MODELS).join(', ')}`);
}

export function integer(
  name: string,
  text: string,
  { min, max }: { readonly min: number; readonly max: number },
): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw new Error(`--${name} is "${text}": it must be an integer from ${min} to ${max}`);
}
