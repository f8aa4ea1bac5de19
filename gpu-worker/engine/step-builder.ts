/** Collects the rows of one plan under its token budget, and who they belong to. Decides nothing. */
import type { Sequence } from './sequence.ts';
import type { PlanRow, StepPlan } from './step-plan.ts';

/** A plan with the sequences of its rows, as they were when it was made. */
export interface PlannedStep {
  readonly plan: StepPlan;
  /** [rows] */
  readonly members: readonly { readonly sequence: Sequence; readonly generation: number }[];
}

export class StepBuilder {
  readonly #rows = new Map<Sequence, PlanRow>();
  #left: number;
  #draws = 0;
  readonly #budget: number;

  constructor(tokenBudget: number) {
    this.#budget = tokenBudget;
    this.#left = tokenBudget;
  }

  /** Tokens the plan may still take. */
  get left(): number {
    return this.#left;
  }

  get size(): number {
    return this.#rows.size;
  }

  /** Tokens planned. */
  get tokens(): number {
    return this.#budget - this.#left;
  }

  /** Tokens to draw. */
  get draws(): number {
    return this.#draws;
  }

  has(sequence: Sequence): boolean {
    return this.#rows.has(sequence);
  }

  add(sequence: Sequence, row: PlanRow): void {
    this.#rows.set(sequence, row);
    this.#left -= row.ids.length;
    this.#draws += row.draws;
  }

  /** Takes a sequence's row, if any, out again and its reservation back. */
  remove(sequence: Sequence): void {
    const row = this.#rows.get(sequence);
    if (row === undefined) return;
    this.#rows.delete(sequence);
    this.#left += row.ids.length;
    this.#draws -= row.draws;
    sequence.release(row, sequence.generation);
  }

  build(id: number, moved: Pick<StepPlan, 'copies' | 'drops'>): PlannedStep {
    const { copies, drops } = moved;
    const rows = [...this.#rows.values()];
    const members = Array.from(this.#rows.keys(), (sequence) => ({ sequence, generation: sequence.generation }));
    return { plan: { id, copies, drops, rows, tokens: this.tokens }, members };
  }
}
