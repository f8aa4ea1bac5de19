/** Pure: a plan's rows → the model runs that compute them on the CPU. Knows no memory and no session. */
import type { PlanRow } from '../engine/step-plan.ts';

/**
 * GroupQueryAttention takes either one sequence with many tokens or many sequences with one token each, the latter
 * in adjacent slots. `rows[i]` is the index in the plan of the row in slot `first + i`; null = a dummy row.
 */
export interface ModelRun {
  readonly first: number;
  /** Tokens of each row: above 1 only when there is one row. */
  readonly length: number;
  readonly rows: readonly (number | null)[];
}

/** A run reads all weights once, which costs about as much as this many more rows in a run under way. */
const MAX_DUMMIES_BETWEEN_ROWS = 3;

export function splitIntoRuns(rows: readonly PlanRow[]): readonly ModelRun[] {
  const indexed = rows.map((row, index) => ({ slot: row.slot, length: row.ids.length, index }));
  const chunks = indexed.filter((row) => row.length > 1);
  const singles = indexed.filter((row) => row.length === 1).sort((a, b) => a.slot - b.slot);
  const runs: ModelRun[] = [];
  let open: { first: number; rows: (number | null)[] } | undefined;
  for (const { slot, index } of singles) {
    const gap = open === undefined ? Infinity : slot - (open.first + open.rows.length);
    if (open === undefined || gap > MAX_DUMMIES_BETWEEN_ROWS) {
      open = { first: slot, rows: [] };
      runs.push({ first: slot, length: 1, rows: open.rows });
    } else {
      for (let dummy = 0; dummy < gap; dummy++) open.rows.push(null);
    }
    open.rows.push(index);
  }
  return [...runs, ...chunks.map(({ slot, length, index }) => ({ first: slot, length, rows: [index] }))];
}
