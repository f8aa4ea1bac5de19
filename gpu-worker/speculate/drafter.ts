/** The contract of a drafter: guesses a sequence's next tokens, which the model then verifies. Knows no model. */

/**
 * One drafter serves one sequence for its whole life (node-llama-cpp's TokenPredictor). What it proposes changes no
 * token of the output, only how many steps the output takes: so a drafter may be wrong, but never slow.
 *
 * - `reset` when the sequence starts: all its known tokens. Again only when they change other than by growing.
 * - `observe` after every commit: the tokens that the step really added. Drafts that were refused never come here.
 * - `matchLength`, then `propose`, while the next step is planned. Neither changes what later calls return, so a plan
 *   may be given up, and a step may go by without either.
 * - `dispose` when the sequence ends, in whatever way. Nothing is called after it.
 */
export interface Drafter {
  /** Forgets everything and starts from these tokens (prompt, then output so far). Copies what it keeps. */
  reset(tokens: Int32Array): void;
  /** Tokens appended to the sequence, in order. */
  observe(tokens: ArrayLike<number>): void;
  /**
   * How many tokens of context the next proposal rests on: the more, the likelier it holds. 0: it would be empty;
   * null: this kind of drafter has no such figure.
   */
  matchLength(): number | null;
  /** At most `count` tokens to follow the sequence; fewer, or none, when the drafter has no more to say. */
  propose(count: number): Int32Array;
  /** Gives its memory back. */
  dispose(): void;
}
