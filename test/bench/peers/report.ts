/** Results of all rounds → tables of figures and of ratios beside what they must reach. Measures nothing. */
import { left, right, rounded } from '../report.ts';
import { spreadOf, type Spread } from '../rounds.ts';
import { formatSpread, formatTable } from '../table.ts';
import { SYSTEMS, type SystemName } from './options.ts';
import type { PeerResult } from './work.ts';

/** By system, one a round. */
export type Results = Readonly<Partial<Record<SystemName, readonly PeerResult[]>>>;

type Kind = 'decode' | 'prefill';

interface Comparison {
  readonly ours: SystemName;
  readonly theirs: SystemName;
  readonly kind: Kind;
  /** By streams or prompt length: what the median ratio must reach, and the goal. */
  readonly must: Readonly<Record<number, number>>;
  readonly goal: number;
}

const COMPARISONS: readonly Comparison[] = [
  {
    ...{ ours: 'millrace-int4-b32', theirs: 'llama-q4_0', kind: 'decode' },
    ...{ must: { 1: 0.95, 4: 1.1, 16: 1, 32: 1 }, goal: 1.2 },
  },
  {
    ...{ ours: 'millrace-int4-b128', theirs: 'llama-q4_0', kind: 'decode' },
    ...{ must: { 1: 1.15, 4: 1.4, 16: 1.3, 32: 1.25 }, goal: 1.5 },
  },
  { ours: 'millrace-int4-b32', theirs: 'llama-q4_0', kind: 'prefill', must: { 256: 0.85, 1024: 0.85 }, goal: 1.1 },
  { ours: 'millrace-int4-b128', theirs: 'llama-q4_0', kind: 'prefill', must: {}, goal: 1.1 },
  { ours: 'millrace-int8', theirs: 'llama-q8_0', kind: 'decode', must: { 4: 1.8, 16: 1.8 }, goal: 2.5 },
  { ours: 'millrace-int4-b32', theirs: 'transformers-q4', kind: 'decode', must: { 4: 1.6 }, goal: 2 },
];

export interface Ratio {
  readonly ours: SystemName;
  readonly theirs: SystemName;
  readonly kind: Kind;
  /** Streams, or tokens of the prompt. */
  readonly at: number;
  readonly ratio: Spread;
  /** Null = none. */
  readonly must: number | null;
  readonly goal: number;
}

/** Round by round; of what both systems have measured. */
export function ratiosOf(results: Results): readonly Ratio[] {
  return COMPARISONS.flatMap(({ ours, theirs, kind, must, goal }) => {
    const [mine = [], others = []] = [results[ours], results[theirs]];
    return placesOf(mine, kind).flatMap((at) => {
      const ratios = mine.flatMap((each, round) => {
        const [a, b] = [each[kind][at], others[round]?.[kind][at]];
        return a === undefined || b === undefined ? [] : [a / b];
      });
      if (ratios.length === 0) return [];
      return [{ ours, theirs, kind, at, ratio: spreadOf(ratios), must: must[at] ?? null, goal }];
    });
  });
}

export function figureTable(results: Results): string {
  const all = Object.values(results).flat();
  const columns = (['decode', 'prefill'] as const).flatMap((kind) => placesOf(all, kind).map((at) => ({ kind, at })));
  const rows = Object.entries(results).map(([system, rounds]) => [
    SYSTEMS[system as SystemName],
    ...columns.map(({ kind, at }) => formatSpread(spreadOf(rounds.flatMap((round) => round[kind][at] ?? [])))),
    formatSpread(spreadOf(rounds.map(({ loadMs }) => loadMs / 1000))),
    formatSpread(spreadOf(rounds.map(({ residentMB }) => residentMB))),
  ]);
  const titles = columns.map(({ kind, at }) => right(`${kind} ${at}`));
  return formatTable([left('tokens/s'), ...titles, right('load s'), right('resident MB')], rows);
}

export function ratioTable(ratios: readonly Ratio[]): string {
  const rows = ratios.map(({ ours, theirs, kind, at, ratio, must, goal }) => [
    `${SYSTEMS[ours]} ÷ ${SYSTEMS[theirs]}`,
    `${kind} ${at}`,
    formatSpread(ratio),
    must === null ? '' : `≥ ${must}`,
    must === null ? '' : ratio.median >= must ? 'met' : 'missed',
    `≥ ${goal}`,
  ]);
  return formatTable([left('ratio'), left('of'), right('×'), right('must'), left('met?'), right('goal')], rows);
}

export function ratiosJson(ratios: readonly Ratio[]): readonly object[] {
  return ratios.map((each) => ({ ...each, ratio: rounded(each.ratio) }));
}

/** Systems whose weights are rounded alike, so that greedy tokens should be too. */
const ALIKE: readonly (readonly [SystemName, SystemName])[] = [
  ['millrace-int8', 'llama-q8_0'],
  ['millrace-int4-b32', 'transformers-q4'],
];

/** That systems have the same model. Random weights make near ties likely, where the last bit decides. */
export function agreementText(results: Results): string {
  const lines = ALIKE.flatMap(([ours, theirs]) => {
    const [a, b] = [results[ours]?.[0]?.sample, results[theirs]?.[0]?.sample];
    if (a === undefined || b === undefined) return [];
    const at = a.findIndex((id, i) => b[i] !== id);
    return [
      `${SYSTEMS[theirs]} draws the same ${at < 0 ? a.length : at} of ${a.length} greedy tokens as ${SYSTEMS[ours]}.`,
    ];
  });
  return lines.join('\n');
}

function placesOf(results: readonly PeerResult[], kind: Kind): readonly number[] {
  const places = new Set(results.flatMap((result) => Object.keys(result[kind]).map(Number)));
  return [...places].toSorted((a, b) => a - b);
}
