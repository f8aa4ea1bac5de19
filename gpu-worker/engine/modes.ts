/** Pure policies of the serving modes: how large a step may be and which prompts may enter. Know no queue or clock. */

export type Mode = 'latency' | 'throughput' | 'balanced';

export interface Objectives {
  /** From arrival to the first token, milliseconds; null = none. */
  readonly ttftMs: number | null;
  /** Between the tokens of a running stream, milliseconds; null = none. */
  readonly itlMs: number | null;
}

export interface ModeDefaults {
  /** Share of the sequences that would fit which may run at once. */
  readonly maxSequencesFactor: number;
  readonly objectives: Objectives;
  /** Without an ITL objective: a step may take so many times a step of decodes alone; null = any time. */
  readonly slowdown: number | null;
}

const NO_OBJECTIVES: Objectives = { ttftMs: null, itlMs: null };

export const MODES: Readonly<Record<Mode, ModeDefaults>> = {
  latency: { maxSequencesFactor: 0.25, objectives: NO_OBJECTIVES, slowdown: 1.5 },
  balanced: { maxSequencesFactor: 1, objectives: NO_OBJECTIVES, slowdown: 2 },
  throughput: { maxSequencesFactor: 1, objectives: NO_OBJECTIVES, slowdown: null },
};

/** Whether a mode fills steps with prompts, however long running streams wait for it. */
export const fillsSteps = (mode: Mode): boolean => MODES[mode].slowdown === null;

/** Of those that there is room for, the sequences that a mode lets run at once. */
export function runningSeqs(mode: Mode, maxNumSeqs: number): number {
  return Math.max(1, Math.floor(maxNumSeqs * MODES[mode].maxSequencesFactor));
}

/** Prompt tokens that every step may run, so that prompts progress whatever the objective; few, as each may cost 5 ms. */
export const PREFILL_FLOOR = 8;

export interface BudgetInput {
  readonly mode: Mode;
  /** The configured most, tokens a step. */
  readonly maxStepTokens: number;
  readonly itlMs: number | null;
  /** Tokens of the rows that are decoding, drafts among them; 0 = nobody waits for a next token. */
  readonly decodeTokens: number;
  /** Predicted milliseconds of a step of those rows and so many prompt tokens; rises with them. Null = no prediction. */
  readonly predictMs: (prefillTokens: number) => number | null;
}

/**
 * Tokens that the next step may run, decodes among them. While somebody decodes, the most whose predicted time keeps
 * the objective (chunked prefill with the chunk sized by it: Sarathi-Serve, Agrawal et al., OSDI'24), found by
 * bisection. Without a prediction the floor: the steps that teach the model come first.
 */
export function stepTokenBudget(input: BudgetInput): number {
  const { mode, maxStepTokens, decodeTokens, predictMs } = input;
  const { slowdown } = MODES[mode];
  if (slowdown === null || decodeTokens === 0) return maxStepTokens;
  const most = maxStepTokens - decodeTokens;
  if (most <= PREFILL_FLOOR) return maxStepTokens;
  const alone = predictMs(0);
  if (alone === null) return decodeTokens + PREFILL_FLOOR;
  const limitMs = input.itlMs ?? slowdown * alone;
  const keeps = (prefillTokens: number) => (predictMs(prefillTokens) ?? Infinity) <= limitMs;
  return decodeTokens + largest(PREFILL_FLOOR, most, keeps);
}

/** The largest whole number in [low, high] that passes, given that whatever is below one that passes does too; else low. */
function largest(low: number, high: number, passes: (value: number) => boolean): number {
  if (passes(high)) return high;
  let [good, bad] = [low, high];
  while (bad - good > 1) {
    const middle = (good + bad) >> 1;
    if (passes(middle)) good = middle;
    else bad = middle;
  }
  return good;
}

export interface PrefillQueue {
  /** Prompt tokens admitted and not computed. */
  readonly queuedPrefillTokens: number;
  /** Of the request at the door. */
  readonly promptTokens: number;
  /** Prompt tokens computed per second lately; null before there is a figure. */
  readonly prefillTokensPerSecond: number | null;
}

/** When a prompt that joins the queue now would have its first token, milliseconds from now; null = cannot tell. */
export function predictedTtftMs({
  queuedPrefillTokens,
  promptTokens,
  prefillTokensPerSecond,
}: PrefillQueue): number | null {
  if (prefillTokensPerSecond === null || prefillTokensPerSecond <= 0) return null;
  return ((queuedPrefillTokens + promptTokens) / prefillTokensPerSecond) * 1000;
}

export type TtftVerdict = { readonly admitted: true } | { readonly admitted: false; readonly retryAfterMs: number };

const ADMITTED: TtftVerdict = { admitted: true };
const SHORTEST_RETRY_MS = 1000;
const LONGEST_RETRY_MS = 30_000;

/**
 * Refuses a prompt whose predicted TTFT breaks the objective; the hint is when enough of the queue will be worked off,
 * between 1 and 30 s. An idle worker takes any prompt: waiting would not make it faster.
 */
export function admitsTtft(queue: PrefillQueue, ttftMs: number | null): TtftVerdict {
  const predictedMs = predictedTtftMs(queue);
  if (ttftMs === null || predictedMs === null || queue.queuedPrefillTokens === 0) return ADMITTED;
  if (predictedMs <= ttftMs) return ADMITTED;
  const waitMs = Math.min(LONGEST_RETRY_MS, Math.max(SHORTEST_RETRY_MS, predictedMs - ttftMs));
  return { admitted: false, retryAfterMs: Math.round(waitMs) };
}
