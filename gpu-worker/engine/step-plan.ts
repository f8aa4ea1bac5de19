/** What one step runs, and what came back: plain values between scheduler and runner. Knows neither. */

/**
 * How to draw one token. The noise is a pure function of (seed, choice, index, token id), so a row draws the same
 * token alone or in any batch, after preemption, and on another worker.
 */
export interface SampleSpec {
  /** 0 = greedy. */
  readonly temperature: number;
  readonly topP: number;
  /** 0 = off. */
  readonly topK: number;
  readonly minP: number;
  /** Two 32-bit halves of the noise key. */
  readonly seed: readonly [low: number, high: number];
  readonly choice: number;
  /** Output index of the token to draw. */
  readonly index: number;
}

/** One sequence's share of a step: run `ids` at positions `start` … `start + ids.length − 1`. */
export interface PlanRow {
  /** The scheduler's number of the sequence; the runner only hands it back. */
  readonly sequence: number;
  /** KV row of the sequence: its tokens' keys and values sit at the same positions in this slot. */
  readonly slot: number;
  /** Tokens already in KV (or being put there by plans before this one). */
  readonly start: number;
  /** Input tokens; `PLACEHOLDER` stands for the token that the plan before this one draws for the sequence. */
  readonly ids: Int32Array;
  /** How to draw the token after the last of `ids`; null while a prompt is incomplete. */
  readonly sample: SampleSpec | null;
}

/** An input token that only the runner knows yet: the previous plan's draw for the same sequence. */
export const PLACEHOLDER = -1;

/** Copy KV positions 0 … `tokens` − 1 of slot `from` to slot `to`, before the rows run. */
export interface SlotMove {
  readonly from: number;
  readonly to: number;
  readonly tokens: number;
}

export interface StepPlan {
  /** 1, 2, 3 …: the order of launch and of commit. */
  readonly id: number;
  readonly moves: readonly SlotMove[];
  readonly rows: readonly PlanRow[];
  /** Sum of `ids.length` over rows. */
  readonly tokens: number;
}

export interface StepResult {
  readonly planId: number;
  /** [rows]: the token drawn for each row, `NO_TOKEN` where `sample` is null. */
  readonly tokens: Int32Array;
  /** Milliseconds inside the model, and in drawing. */
  readonly runMs: number;
  readonly sampleMs: number;
}

/** A row that drew nothing. */
export const NO_TOKEN = -1;
