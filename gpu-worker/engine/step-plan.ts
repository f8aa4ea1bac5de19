/** What one step runs, and what came back: plain values between scheduler and runner. Knows neither. */
import type { KvCopy, KvDrop } from '../kv/kv-cache.ts';
import type { LogitsRules } from '../sample/logits-rules.ts';

/**
 * How to draw tokens. A seeded row's noise is a pure function of (seed, choice, index, token id), so it draws the same
 * token alone or in any batch, with or without drafts, after preemption, and on another worker.
 */
export interface SampleSpec {
  /** 0 = greedy. */
  readonly temperature: number;
  readonly topP: number;
  /** 0 = off. */
  readonly topK: number;
  readonly minP: number;
  /** Two 32-bit halves of the noise key; null = unseeded: any exact draw will do. */
  readonly seed: readonly [low: number, high: number] | null;
  readonly choice: number;
  /** Output index of the row's first draw; each further draw has the next. */
  readonly index: number;
  /** What changes the logits before the draw; null = nothing. */
  readonly rules: LogitsRules | null;
  /** Alternatives to report beside the drawn token, 0 to 20; null = no log probabilities. */
  readonly logprobs: number | null;
}

/** One sequence's share of a step: run `ids` at positions `start` … `start + ids.length − 1`. */
export interface PlanRow {
  /** The scheduler's number of the sequence; the runner only hands it back. */
  readonly sequence: number;
  /** KV blocks of the sequence in the order of its positions. On the CPU a block is a slot: one holds a whole sequence. */
  readonly blocks: Int32Array;
  /** Tokens already in KV (or being put there by plans before this one). */
  readonly start: number;
  /** Input tokens; `PLACEHOLDER` stands for the token that the plan before this one draws for the sequence. */
  readonly ids: Int32Array;
  /**
   * Tokens to draw, one after each of the last `draws` ids: 0 while a prompt is incomplete, 1 for the next token,
   * 1 + k to verify the k drafts that end `ids`.
   */
  readonly draws: number;
  /** How to draw; null when `draws` is 0. */
  readonly sample: SampleSpec | null;
}

/** An input token that only the runner knows yet: the previous plan's draw for the same sequence. */
export const PLACEHOLDER = -1;

export interface StepPlan {
  /** 1, 2, 3 …: the order of launch and of commit. */
  readonly id: number;
  /** Copies inside the KV cache, in this order, before the rows run. */
  readonly copies: readonly KvCopy[];
  /** KV positions that hold nothing worth keeping after the copies: a runner may give their memory back. */
  readonly drops: readonly KvDrop[];
  readonly rows: readonly PlanRow[];
  /** Sum of `ids.length` over rows. */
  readonly tokens: number;
}

/** Natural logarithms of the model's own distribution, before rules and temperature (vLLM's raw_logprobs). */
export interface TokenLogprobs {
  /** Of the drawn token. */
  readonly logprob: number;
  /** The likeliest tokens, likeliest first. */
  readonly top: readonly { readonly id: number; readonly logprob: number }[];
}

/** Index of a row in its plan → why nothing can be drawn for it. */
export type RowFailures = ReadonlyMap<number, string>;

export interface StepResult {
  readonly planId: number;
  /** [sum of draws]: the tokens drawn, row by row. A verified row's draws after the first refused draft mean nothing. */
  readonly tokens: Int32Array;
  /** [sum of draws] in the order of `tokens`; null when no row asked. */
  readonly logprobs: readonly (TokenLogprobs | null)[] | null;
  /** These rows' draws mean nothing and their sequences cannot go on; the other rows are good. Left out: none. */
  readonly failures?: RowFailures;
  /** Milliseconds inside the model, and in drawing. */
  readonly runMs: number;
  readonly sampleMs: number;
}
