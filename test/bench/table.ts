/** Rows of text → an aligned table. Pure. */
import type { Spread } from './rounds.ts';

export interface Column {
  readonly title: string;
  readonly align: 'left' | 'right';
}

/** Titles, a rule, rows; no space at line ends. */
export function formatTable(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const widths = columns.map(({ title }, i) => Math.max(title.length, ...rows.map((row) => row[i]?.length ?? 0)));
  const line = (cells: readonly string[]) =>
    columns
      .map(({ align }, i) => {
        const [cell, width] = [cells[i] ?? '', widths[i] ?? 0];
        return align === 'left' ? cell.padEnd(width) : cell.padStart(width);
      })
      .join('  ')
      .trimEnd();
  const titles = columns.map(({ title }) => title);
  return [line(titles), widths.map((width) => '─'.repeat(width)).join('  '), ...rows.map(line)].join('\n');
}

/** `median [min–max]`; one value alone where there was one round, `–` where nothing was measured. */
export function formatSpread({ median, min, max }: Spread): string {
  if (!Number.isFinite(median)) return '–';
  return min === max ? figure(median) : `${figure(median)} [${figure(min)}–${figure(max)}]`;
}

/** Three digits that count, and whole numbers whole. */
function figure(value: number): string {
  const decimals = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return value.toFixed(decimals);
}
