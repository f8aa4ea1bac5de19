/** The GPU benchmark's arguments, checked, with their defaults. Runs nothing. */
import { parseArgs } from 'node:util';
import { integer, list } from '../options.ts';

const WEIGHTS = ['none', 'int8', 'int4'] as const;
const KV = ['auto', 'float16', 'fp8', 'int8'] as const;
const MEASURES = ['decode', 'first', 'throughput', 'long', 'int4'] as const;
const BOOLEANS = ['true', 'false'] as const;
export type MeasureName = (typeof MEASURES)[number];

export interface GpuOptions {
  readonly weights: (typeof WEIGHTS)[number];
  readonly kv: (typeof KV)[number];
  /** Of the decode steps. */
  readonly batches: readonly number[];
  readonly graphs: boolean;
  /** Repetition, frequency and presence penalties on every request. */
  readonly penalties: boolean;
  readonly layers: number;
  readonly maxNumSeqs: number;
  readonly only: readonly MeasureName[];
  /** A Python with torch and transformers; null = not measured. */
  readonly transformers: string | null;
  readonly transformersOutput: number;
  /** An hour of the GPU. */
  readonly dollars: number;
}

const DEFAULTS = {
  ...{ weights: 'none', kv: 'auto', batches: '1,16,64,256,1024', graphs: 'true', penalties: 'false', layers: '32' },
  ...{ 'max-num-seqs': '1024', only: MEASURES.join(','), 'transformers-output': '128', dollars: '3' },
};
type Name = keyof typeof DEFAULTS;

export const HELP = `npm run bench:gpu -- [flags]
  --weights   ${WEIGHTS.join(', ')}; none has 16 bits [${DEFAULTS.weights}]
  --kv        ${KV.join(', ')} [${DEFAULTS.kv}]
  --batches   of the decode steps, by comma [${DEFAULTS.batches}]
  --graphs    CUDA graphs: true or false [${DEFAULTS.graphs}]
  --penalties repetition, frequency and presence penalties on every request: true or false [${DEFAULTS.penalties}]
  --layers    of the model [${DEFAULTS.layers}]
  --max-num-seqs  of the engine [${DEFAULTS['max-num-seqs']}]
  --only      ${MEASURES.join(', ')}, by comma [all]
  --transformers         a Python with torch and transformers: its continuous batching on 1000 such requests beside ours
  --transformers-output  their tokens, fewer to be done sooner [${DEFAULTS['transformers-output']}]
  --dollars   an hour of this GPU, for the cost per million output tokens [${DEFAULTS.dollars}]
  --help

Needs a GPU: Llama 3 8B's shape with random weights through the engine. Output: a table, then one line of JSON.`;

/** Null: help was asked for. Throws with the option's name and the fix. */
export function readGpuOptions(args: readonly string[]): GpuOptions | null {
  const text = { type: 'string' } as const;
  const names = Object.fromEntries(Object.keys(DEFAULTS).map((name) => [name, text])) as Record<Name, typeof text>;
  const options = { ...names, transformers: text, help: { type: 'boolean', short: 'h' } } as const;
  const { values } = parseArgs({ args: [...args], options });
  if (values.help === true) return null;
  const given = { ...DEFAULTS, ...values };
  const number = (name: Name, max: number) => integer(name, given[name], { min: 1, max });
  return {
    weights: oneOf('weights', given.weights, WEIGHTS),
    kv: oneOf('kv', given.kv, KV),
    batches: list('batches', given.batches).map((each) => integer('batches', each, { min: 1, max: 8192 })),
    graphs: oneOf('graphs', given.graphs, BOOLEANS) === 'true',
    penalties: oneOf('penalties', given.penalties, BOOLEANS) === 'true',
    layers: number('layers', 32),
    maxNumSeqs: number('max-num-seqs', 8192),
    only: list('only', given.only).map((each) => oneOf('only', each, MEASURES)),
    transformers: values.transformers ?? null,
    transformersOutput: number('transformers-output', 1024),
    dollars: dollarsOf(given.dollars),
  };
}

function oneOf<T extends string>(name: string, text: string, known: readonly T[]): T {
  const found = known.find((each) => each === text);
  if (found !== undefined) return found;
  throw new Error(`--${name} is "${text}": take ${known.join(', ')}`);
}

function dollarsOf(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isFinite(value) && value >= 0) return value;
  throw new Error(`--dollars is "${text}": it must be a number of at least 0`);
}
