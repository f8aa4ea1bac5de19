/** What changes a row's logits before a token is drawn: penalties, biases, forbidden tokens, masks. Knows no tensors. */
import type { TokenHistory } from './token-history.ts';

/** Says which tokens may come next: the hook of structured output. Stateful; lives with its sequence on the host. */
export interface LogitsMask {
  /**
   * Bit `id & 31` of word `id >> 5` is set for every allowed token after the output so far and then `drafts`.
   * Null: all are allowed. At least one is. A draft that is itself not allowed makes later masks meaningless.
   */
  allowed(drafts: Int32Array): Uint32Array | null;
  /** The output grew by this token. */
  accept(token: number): void;
}

/**
 * Applied in this order (vLLM's): repetition penalty over prompt and output, frequency and presence penalties over
 * the output, then biases, forbidden ids, mask. Drafts before a draw count as output of it. All in float32, so that a
 * processor and a GPU come to the same logits.
 */
export interface LogitsRules {
  /** > 0; 1 = off. Positive logits are divided by it, negative ones multiplied (CTRL, arXiv 1909.05858). */
  readonly repetitionPenalty: number;
  /** Subtracted once per occurrence; 0 = off. */
  readonly frequencyPenalty: number;
  /** Subtracted once if the token occurs; 0 = off. */
  readonly presencePenalty: number;
  /** Of the prompt it needs to have tokens only where repetition is penalized. */
  readonly history: TokenHistory;
  /** Added to the logits of these ids. */
  readonly bias: readonly (readonly [id: number, bias: number])[];
  /** Ids that may not be drawn while the output index is below `untilIndex` (min_tokens). */
  readonly forbidden: { readonly ids: readonly number[]; readonly untilIndex: number } | null;
  readonly mask: LogitsMask | null;
}
