/** Which cached slots begin with pinned tokens, within a budget of tokens and slots. Knows not what they hold, nor when they were used. */

export class SlotPins {
  /** [slots] */
  readonly #tokens: Int32Array;
  readonly #maxTokens: number;
  readonly #maxSlots: number;
  #total = 0;
  #count = 0;

  constructor(slots: number, budget: { readonly maxTokens: number; readonly maxSlots: number }) {
    this.#tokens = new Int32Array(slots);
    this.#maxTokens = budget.maxTokens;
    this.#maxSlots = budget.maxSlots;
  }

  /** Of all slots. */
  get total(): number {
    return this.#total;
  }

  get isOverBudget(): boolean {
    return this.#total > this.#maxTokens || this.#count > this.#maxSlots;
  }

  of(slot: number): number {
    return this.#tokens[slot] ?? 0;
  }

  /** 0: no longer pinned. */
  set(slot: number, tokens: number): void {
    const before = this.of(slot);
    this.#total += tokens - before;
    this.#count += Number(tokens > 0) - Number(before > 0);
    this.#tokens[slot] = tokens;
  }
}
