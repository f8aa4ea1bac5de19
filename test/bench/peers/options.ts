/** The peers' benchmark's arguments, checked, with their defaults. Runs nothing. */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { integer, list } from '../options.ts';
import type { RandomShape } from '../random-model.ts';

export const SYSTEMS = {
  'millrace-int4-b32': 'Millrace int4 b32',
  'millrace-int4-b128': 'Millrace int4 b128',
  'millrace-int8': 'Millrace int8 b32',
  'llama-q4_0': 'node-llama-cpp Q4_0',
  'llama-q8_0': 'node-llama-cpp Q8_0',
  'transformers-q4': 'Transformers.js q4',
} as const;

export type SystemName = keyof typeof SYSTEMS;

export interface PeersOptions {
  readonly systems: readonly SystemName[];
  readonly batches: readonly number[];
  readonly prefills: readonly number[];
  readonly rounds: number;
  readonly promptTokens: number;
  readonly outputTokens: number;
  readonly threads: number;
  readonly shape: RandomShape;
}

const DEFAULTS = {
  ...{ systems: Object.keys(SYSTEMS).join(','), batches: '1,4,16,32', prefills: '256,1024', rounds: '3' },
  ...{ 'prompt-tokens': '64', 'output-tokens': '33', threads: String(availableParallelism()) },
};
const QUICK: typeof DEFAULTS = {
  ...DEFAULTS,
  ...{ batches: '1,4', prefills: '64', rounds: '1', 'output-tokens': '9', 'prompt-tokens': '16' },
};
type Name = keyof typeof DEFAULTS;

export const HELP = `npm run bench:peers [-- options]
  --systems <names>     by comma [${DEFAULTS.systems}]
  --batches <numbers>   streams at once [${DEFAULTS.batches}]; 8-bit systems and Transformers.js have their musts at 4 and 16
  --prefills <numbers>  prompt lengths [${DEFAULTS.prefills}]
  --rounds <n>          every system once a round, in turn [${DEFAULTS.rounds}]
  --prompt-tokens <n>   of every decoded stream [${DEFAULTS['prompt-tokens']}]
  --output-tokens <n>   of every decoded stream, the first of them not timed [${DEFAULTS['output-tokens']}]
  --threads <n>         of every system [${DEFAULTS.threads}]
  --quick               a tiny model: the figures mean nothing, all parts are shown to work
  --help

One model with the shape of Qwen2.5-0.5B and random weights, the same in every system, each in a process of its own.
About 10 minutes on two quiet cores, and four more the first time: npm ci (1.2 GB), models (2.5 GB). A busy machine
slows node-llama-cpp most, whose threads wait for each other: nothing else may run.
Output: a table, then one line of JSON.`;

/** Null: help was asked for. Throws with the option's name and the fix. */
export function readOptions(args: readonly string[]): PeersOptions | null {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean', default: false } as const;
  const names = Object.fromEntries(Object.keys(DEFAULTS).map((name) => [name, text])) as Record<Name, typeof text>;
  const { values } = parseArgs({ args: [...args], options: { ...names, quick: flag, help: flag } });
  if (values.help) return null;
  const given = { ...(values.quick ? QUICK : DEFAULTS), ...values };
  const numbers = (name: Name, max: number) =>
    list(name, given[name]).map((each) => integer(name, each, { min: 1, max }));
  return {
    systems: list('systems', given.systems).map(systemName),
    batches: numbers('batches', 64),
    prefills: numbers('prefills', 1984),
    rounds: integer('rounds', given.rounds, { min: 1, max: 100 }),
    promptTokens: integer('prompt-tokens', given['prompt-tokens'], { min: 1, max: 1024 }),
    outputTokens: integer('output-tokens', given['output-tokens'], { min: 2, max: 900 }),
    threads: integer('threads', given.threads, { min: 1, max: 256 }),
    shape: values.quick ? 'mini-qwen' : 'qwen2.5-0.5b',
  };
}

function systemName(name: string): SystemName {
  if (Object.hasOwn(SYSTEMS, name)) return name as SystemName;
  throw new Error(`--systems names "${name}": there are ${Object.keys(SYSTEMS).join(', ')}`);
}
