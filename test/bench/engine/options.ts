/** The engine benchmark's arguments, checked, with their defaults. Runs nothing. */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { integer, list } from '../options.ts';
import type { BenchSize } from './bench.ts';
import { isMeasure, MEASURES, type MeasureName } from './measures.ts';

export interface EngineBenchOptions extends BenchSize {
  readonly only: readonly MeasureName[];
}

const ROUNDS = 3;

export const HELP = `npm run bench:engine [-- options]
  --only <names>     by comma, of ${Object.keys(MEASURES).join(', ')} [all]
  --rounds <number>  times that each side of a measure runs, in turn [${ROUNDS}; with --quick 1]
  --requests <n>     requests of the prefix measure [64]; fewer for a trial
  --threads <n>      inside the model [one for each core]; 1 where others use the machine too
  --quick            a few seconds on a tiny model, to see that all parts work: no figure means anything
  --help

Output: a table, then one line of JSON. A missed must is printed; only wrong tokens and failures end with code 1.`;

/** Null: help was asked for. Throws with the option's name and the fix. */
export function readEngineOptions(args: readonly string[]): EngineBenchOptions | null {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean', default: false } as const;
  const options = { only: text, rounds: text, requests: text, threads: text, quick: flag, help: flag };
  const { values } = parseArgs({ args: [...args], options });
  if (values.help) return null;
  const { quick, only = Object.keys(MEASURES).join(), rounds = String(quick ? 1 : ROUNDS), requests } = values;
  const { threads = String(availableParallelism()) } = values;
  return {
    only: list('only', only).map(measureName),
    rounds: integer('rounds', rounds, { min: 1, max: 1000 }),
    // The KV of more would not fit beside each other.
    requests: requests === undefined ? null : integer('requests', requests, { min: 2, max: 64 }),
    threads: integer('threads', threads, { min: 1, max: 256 }),
    quick,
  };
}

function measureName(name: string): MeasureName {
  if (isMeasure(name)) return name;
  throw new Error(`--only names "${name}": there are ${Object.keys(MEASURES).join(', ')}`);
}
