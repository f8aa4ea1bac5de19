/** The benchmark's results as a table and as one line of JSON. Measures nothing. */
import { availableParallelism, cpus, totalmem } from 'node:os';
import { FORMULAS, spreadsOf, type Figures } from './figures.ts';
import { spreadOf, type Spread } from './rounds.ts';
import { formatSpread, formatTable, type Column } from './table.ts';

/** `engine`: straight into the engine's thread; `path`: HTTP, edge, NATS, worker process and SSE. */
export type Way = 'engine' | 'path';

export interface Cell {
  readonly model: string;
  readonly quantization: string;
  readonly concurrency: number;
  readonly way: Way;
  /** Of each round. */
  readonly requests: number;
  /** Counted in each round. */
  readonly outputTokens: number;
  readonly rounds: readonly Figures[];
}

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly platform: string;
  readonly node: string;
}

export function thisMachine(): Machine {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    platform: `${process.platform} ${process.arch}`,
    node: process.version,
  };
}

export const left = (title: string): Column => ({ title, align: 'left' });
export const right = (title: string): Column => ({ title, align: 'right' });
const COLUMNS: readonly Column[] = [
  ...[left('model'), right('streams'), left('way'), right('tokens/s'), right('of engine')],
  ...[right('TTFT ms'), right('TTFT p99'), right('ITL ms'), right('ITL p99'), right('tokens/arrival')],
];

export function reportTable(cells: readonly Cell[]): string {
  const rows = cells.map((cell) => {
    const spreads = spreadsOf(cell.rounds);
    const ratio = cell.way === 'path' ? ratioTo(cells, cell) : null;
    return [
      ...[`${cell.model} ${cell.quantization}`, String(cell.concurrency), WAY_NAMES[cell.way]],
      ...[formatSpread(spreads.tokensPerSecond), ratio === null ? '' : formatSpread(ratio)],
      ...[spreads.ttftP50Ms, spreads.ttftP99Ms, spreads.itlP50Ms, spreads.itlP99Ms].map(formatSpread),
      formatSpread(spreads.tokensPerArrival),
    ];
  });
  const formulas = `TTFT: ${FORMULAS.ttftP50Ms}.\nITL: ${FORMULAS.itlP50Ms}.\nAll: median over rounds [min–max].`;
  return `${formatTable(COLUMNS, rows)}\n\n${formulas}`;
}

const WAY_NAMES: Readonly<Record<Way, string>> = { engine: 'engine alone', path: 'whole path' };

export interface ReportHead {
  readonly bench: string;
  readonly date: Date;
  readonly machine: Machine;
  readonly parameters: object;
}

/** One line. A figure that does not exist is null. */
export function reportJson({ bench, date, machine, parameters }: ReportHead, cells: readonly Cell[]): string {
  const ratios = cells.flatMap((cell) => {
    const tokensPerSecond = cell.way === 'path' ? ratioTo(cells, cell) : null;
    return tokensPerSecond === null
      ? []
      : [{ model: cell.model, concurrency: cell.concurrency, tokensPerSecond: rounded(tokensPerSecond) }];
  });
  const figures = cells.map(({ rounds, ...cell }) => {
    const spreads = Object.entries(spreadsOf(rounds)).map(([name, spread]) => [name, rounded(spread)] as const);
    return { ...cell, ...Object.fromEntries(spreads) };
  });
  const head = { bench, date: date.toISOString(), machine, parameters, formulas: FORMULAS };
  return JSON.stringify({ ...head, cells: figures, pathToEngine: ratios });
}

/** Tokens/s of a whole path ÷ the engine's, round by round; null without its counterpart. */
function ratioTo(cells: readonly Cell[], path: Cell): Spread | null {
  const engine = cells.find(({ model, concurrency, way }) => {
    return way === 'engine' && model === path.model && concurrency === path.concurrency;
  });
  if (engine === undefined) return null;
  return spreadOf(path.rounds.map((each, i) => each.tokensPerSecond / (engine.rounds[i]?.tokensPerSecond ?? NaN)));
}

/** To five digits. */
export function rounded({ median, min, max }: Spread): Spread {
  const round = (value: number) => Number(value.toPrecision(5));
  return { median: round(median), min: round(min), max: round(max) };
}
