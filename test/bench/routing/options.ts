/** The routing benchmark's arguments, checked, with their defaults. Runs nothing. */
import { parseArgs } from 'node:util';
import { integer, list } from '../options.ts';

export const MEASURE_NAMES = ['lookup', 'fleet', 'isolation', 'real'] as const;
export type MeasureName = (typeof MEASURE_NAMES)[number];

export interface RoutingOptions {
  readonly only: readonly MeasureName[];
  /** Worker processes of each fleet. */
  readonly workers: readonly number[];
  /** Measured in each trace, after its warm-up. */
  readonly seconds: number;
  /** Requests per second and worker. */
  readonly rate: number;
  readonly overloadRate: number;
  readonly skew: number;
  readonly seed: number;
  readonly quick: boolean;
}

const DEFAULTS = {
  ...{ only: MEASURE_NAMES.join(), workers: '4,16', seconds: '40', rate: '2', overload: '4' },
  ...{ skew: '0.6', seed: '1' },
};
/** No figure of it means anything. */
const QUICK: typeof DEFAULTS = { ...DEFAULTS, workers: '2', seconds: '3', rate: '1', overload: '4' };
type Name = keyof typeof DEFAULTS;

export const HELP = `npm run bench:routing [-- options]
  --only <names>      by comma, of ${MEASURE_NAMES.join(', ')} [all]
  --workers <numbers> worker processes of a fleet, by comma [${DEFAULTS.workers}]
  --seconds <n>       measured in each trace [${DEFAULTS.seconds}]; figures of few requests scatter
  --rate <n>          requests per second and worker of the trace that TTFT is taken from [${DEFAULTS.rate}]
  --overload <n>      of the trace that throughput is taken from: more than a fleet without prefixes can serve [${DEFAULTS.overload}]
  --skew <n>          tenant k sends by 1 / k^skew [${DEFAULTS.skew}]; 0 = all alike
  --seed <n>          of the traces [${DEFAULTS.seed}]
  --quick             about a minute, to see that all parts work: no figure means anything
  --help

fleet: each routing gets a fresh fleet and the same two traces; nats-server, edge and worker processes are real, and the
workers run scheduler, KV cache, KV events and admission as served, but sleep for the time of a step. Fleets of more
than 8 workers run in slow motion: longer steps, lower rates.
Output: tables, then one line of JSON. A missed must is printed; only failures end with code 1.`;

/** Null: help was asked for. Throws with the option's name and the fix. */
export function readRoutingOptions(args: readonly string[]): RoutingOptions | null {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean', default: false } as const;
  const names = Object.fromEntries(Object.keys(DEFAULTS).map((name) => [name, text])) as Record<Name, typeof text>;
  const { values } = parseArgs({ args: [...args], options: { ...names, quick: flag, help: flag } });
  if (values.help) return null;
  const given = { ...(values.quick ? QUICK : DEFAULTS), ...values };
  return {
    only: list('only', given.only).map(measureName),
    workers: list('workers', given.workers).map((each) => integer('workers', each, { min: 2, max: 64 })),
    seconds: integer('seconds', given.seconds, { min: 1, max: 3600 }),
    rate: number('rate', given.rate, { above: 0, most: 1000 }),
    overloadRate: number('overload', given.overload, { above: 0, most: 1000 }),
    skew: number('skew', given.skew, { above: -1, most: 5 }),
    seed: integer('seed', given.seed, { min: 0, max: 2 ** 31 }),
    quick: values.quick,
  };
}

function measureName(name: string): MeasureName {
  const known = MEASURE_NAMES.find((each) => each === name);
  if (known !== undefined) return known;
  throw new Error(`--only names "${name}": there are ${MEASURE_NAMES.join(', ')}`);
}

function number(
  name: string,
  text: string,
  { above, most }: { readonly above: number; readonly most: number },
): number {
  const value = Number(text);
  if (text.trim() !== '' && value > above && value <= most) return value;
  throw new Error(`--${name} is "${text}": it must be a number above ${above}, at most ${most}`);
}
