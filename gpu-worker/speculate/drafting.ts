/** The contract between scheduler and speculation: who drafts what. Knows no plans. */

/** What drafting looks at of a sequence. */
export interface DraftSubject {
  readonly number: number;
  /** [≥ length]: prompt and output; the first `length` are known. */
  readonly tokens: Int32Array;
  readonly length: number;
  readonly request: { readonly speculation: 'off' | 'auto' | 'n-gram' };
}

export interface DraftCandidate {
  readonly subject: DraftSubject;
  /** Most drafts that fit it. */
  readonly room: number;
}

/** The step without drafts. */
export interface StepShape {
  readonly tokens: number;
  /** Tokens to draw: those of the decoding rows, and of prompts that end. */
  readonly draws: number;
  /** KV positions that its decoding rows read. */
  readonly kvTokens: number;
}

export interface Drafting {
  /** [candidates]: the tokens to verify after the next one of each; empty = none. */
  draft(candidates: readonly DraftCandidate[], step: StepShape): readonly Int32Array[];
  /** A row was committed: `drafted` tokens were verified, `made` became output. */
  observe(subject: DraftSubject, outcome: { readonly drafted: number; readonly made: number }): void;
  /** The sequence is gone. */
  forget(subject: DraftSubject): void;
}
