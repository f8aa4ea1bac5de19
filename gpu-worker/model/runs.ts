/** Pure: a plan's rows → the parts that attention is computed in on the CPU. Knows no memory and no session. */
import type { PlanRow } from '../engine/step-plan.ts';

/**
 * What GroupQueryAttention takes at once: one sequence with many tokens, or many sequences in adjacent slots with one
 * token each. Everything else of the model sees the tokens of all parts together.
 */
export interface RunPart {
  /** Slot of the first row; `rows[i]` is the index in the plan of the row in slot `first + i`. */
  readonly first: number;
  readonly rows: readonly number[];
  /** Tokens of each row: above 1 only when there is one row. */
  readonly length: number;
  /** Where the part's tokens begin among the run's. */
  readonly offset: number;
}

/** Rows of one token joined over adjacent slots, then longer rows, both by slot: steps of like rows give like parts. */
export function splitIntoParts(rows: readonly PlanRow[]): readonly RunPart[] {
  const slotOf = (index: number): number => rows[index]?.blocks[0] ?? 0;
  const lengthOf = (index: number): number => rows[index]?.ids.length ?? 0;
  const bySlot = Array.from(rows.keys()).sort((a, b) => slotOf(a) - slotOf(b));
  const singles: { first: number; rows: number[]; length: number; offset: number }[] = [];
  let offset = 0;
  for (const index of bySlot) {
    if (lengthOf(index) !== 1) continue;
    const open = singles.at(-1);
    if (open !== undefined && slotOf(index) === open.first + open.rows.length) open.rows.push(index);
    else singles.push({ first: slotOf(index), rows: [index], length: 1, offset });
    offset++;
  }
  const longer: RunPart[] = [];
  for (const index of bySlot) {
    const length = lengthOf(index);
    if (length === 1) continue;
    longer.push({ first: slotOf(index), rows: [index], length, offset });
    offset += length;
  }
  return [...singles, ...longer];
}
