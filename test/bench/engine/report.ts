/** Figures of the engine as a table and as one line of JSON. Measures nothing. */
import { left, right, rounded, type ReportHead } from '../report.ts';
import type { Spread } from '../rounds.ts';
import { formatSpread, formatTable } from '../table.ts';
import { isMet, type Figure, type Must } from './measure.ts';
import { profileText } from './step-profile.ts';

/** A measure that gave no figure. */
export interface Failure {
  readonly measure: string;
  readonly message: string;
}

const COLUMNS = [left('name'), right('figure'), right('must'), left('met?')];

/** Under the table: where the time of missed figures went, and what failed. */
export function figureTable(figures: readonly Figure[], failures: readonly Failure[]): string {
  const rows = figures.map((figure) => {
    const { name, unit, must } = figure;
    return [name, figureText(figure), must === null ? '' : `${mustText(must)} ${unit}`, metText(figure)];
  });
  const missed = figures.filter((figure) => isMet(figure) === false);
  const profiles = missed.flatMap(({ name, profiles: sides }) =>
    Object.entries(sides).map(([side, profile]) => `${name}, ${side}: ${profileText(profile)}`),
  );
  const failed = failures.map(({ measure, message }) => `${measure} failed: ${message}`);
  return [formatTable(COLUMNS, rows), ...profiles, ...failed].join('\n');
}

export function figureText({ spread, unit }: Figure): string {
  return `${formatSpread(spread)} ${unit}`;
}

function mustText(must: Must): string {
  return 'atLeast' in must ? `≥ ${must.atLeast}` : `≤ ${must.atMost}`;
}

function metText(figure: Figure): string {
  const met = isMet(figure);
  return met === null ? '' : met ? 'met' : 'missed';
}

/** One line. A figure that does not exist is null. */
export function figureJson(head: ReportHead, figures: readonly Figure[], failures: readonly Failure[]): string {
  const { bench, date, machine, parameters } = head;
  const all = figures.map((figure) => {
    const { details, spread, ...rest } = figure;
    const shown = Object.entries(details).map(([name, value]) => [name, isSpread(value) ? rounded(value) : value]);
    return { ...rest, ...rounded(spread), met: isMet(figure), details: Object.fromEntries(shown) };
  });
  return JSON.stringify({ bench, date: date.toISOString(), machine, parameters, figures: all, failures });
}

function isSpread(value: unknown): value is Spread {
  return typeof value === 'object' && value !== null && 'median' in value && 'min' in value && 'max' in value;
}
