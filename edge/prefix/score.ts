/** Pure policy: the order in which to try workers for a prompt, by predicted time to its first token and work done twice. Knows figures, no text and no bus. */

export interface Candidate {
  readonly worker: string;
  /** Prompt tokens that it need not compute. */
  readonly matchedTokens: number;
  /** Prompt tokens that it has to compute first. */
  readonly queuedTokens: number;
  /** Pace of prompts; null before there is a figure. */
  readonly tokensPerSecond: number | null;
  /** Running and waiting. */
  readonly sequences: number;
  readonly maxSequences: number;
  /** Sequences begun there lately, by whoever asks. */
  readonly recent: number;
}

/** Where nobody has a figure yet: the order needs only one that is the same for all. */
export const DEFAULT_PACE = 2_000;
/**
 * A prefix counts in full up to the first multiple of the mean load, and not at all from the second on: others get it
 * too. Load now, in sequences per place, shows bursts; what went there lately shows who is always first.
 */
const NOW = { from: 1.3, to: 1.5 };
const LATELY = { from: 0.9, to: 1.15 };
/** So many sequences more than the mean are no overload. */
const LOAD_ALLOWANCE = 4;
/** The same of those begun lately, while all are idle: one conversation stays. The busier all are, the less. */
const RECENT_ALLOWANCE = 4;
/** Computing a token that another worker holds takes its time from those who come later: part of it that counts. */
const WORK_WEIGHT = 0.5;
/**
 * The same where all have queues: what is computed twice delays everybody behind it. A prompt computed in full counts as
 * this part of the mean queue. Without it queues of unlike length scatter every prefix, nobody finds one, and the queues
 * never shrink again.
 */
const CROWD_WEIGHT = 0.5;
/** A full batch slows prompts down by this part. */
const BATCH_SLOWDOWN = 0.25;
/** Seconds until a place is free, for as many waiting as run. */
const TURNOVER_SECONDS = 2;
/** Predictions within this factor and time of the best are as good: figures lag. */
const GOOD_FACTOR = 1.1;
const GOOD_SECONDS = 0.002;

/**
 * All candidates: first of two random ones among the good that with less to do lately (power of two choices: gateways
 * that know nothing of each other must not all pick the same), then by prediction. A conversation thus stays where its prefix is.
 */
export function rank(promptTokens: number, candidates: readonly Candidate[], random: () => number): readonly string[] {
  const paces = candidates.flatMap(({ tokensPerSecond }) => tokensPerSecond ?? []);
  const pace = paces.length > 0 ? paces.reduce((sum, each) => sum + each) / paces.length : DEFAULT_PACE;
  const mean = (of: (candidate: Candidate) => number) =>
    candidates.reduce((sum, each) => sum + of(each), 0) / Math.max(1, candidates.length);
  const setting: Setting = {
    ...{ promptTokens, pace, load: mean(loadOf) },
    ...{ queue: mean(({ queuedTokens }) => queuedTokens), recent: mean(({ recent }) => recent) },
    sequences: mean(({ sequences }) => sequences),
  };
  const ranked = candidates
    .map((each) => ({ worker: each.worker, recent: each.recent, seconds: predictCost(each, setting) }))
    .toSorted((a, b) => a.seconds - b.seconds);
  const most = (ranked[0]?.seconds ?? 0) * GOOD_FACTOR + GOOD_SECONDS;
  const good = ranked.filter(({ seconds }) => seconds <= most).length;
  const pick = () => ranked[Math.floor(random() * good)];
  const [one, other] = [pick(), pick()];
  const difference = (other?.recent ?? 0) - (one?.recent ?? 0) || (other?.seconds ?? 0) - (one?.seconds ?? 0);
  const first = difference < 0 ? other : one;
  return first === undefined
    ? []
    : [first.worker, ...ranked.filter((each) => each !== first).map(({ worker }) => worker)];
}

interface Setting {
  readonly promptTokens: number;
  /** Of a worker that has no figure of its own. */
  readonly pace: number;
  /** Mean of all candidates. */
  readonly load: number;
  /** Tokens, mean of all candidates. */
  readonly queue: number;
  /** Means of all candidates. */
  readonly recent: number;
  readonly sequences: number;
}

/** Seconds to the first token, and those that the work costs others. */
export function predictCost(candidate: Candidate, setting: Setting): number {
  const { promptTokens, pace, load, queue, recent } = setting;
  const { matchedTokens, queuedTokens, tokensPerSecond, sequences, maxSequences } = candidate;
  const places = Math.max(1, maxSequences);
  const fade = Math.min(
    fadeBetween(NOW, { value: loadOf(candidate) - LOAD_ALLOWANCE / places, mean: load }),
    fadeBetween(LATELY, { value: candidate.recent - RECENT_ALLOWANCE / (1 + setting.sequences), mean: recent }),
  );
  const uncached = promptTokens - Math.min(promptTokens, matchedTokens) * fade;
  const crowd = (CROWD_WEIGHT * queue * uncached) / Math.max(1, promptTokens);
  const tokens = queuedTokens + (1 + WORK_WEIGHT) * uncached + crowd;
  const slowdown = 1 + BATCH_SLOWDOWN * Math.min(1, loadOf(candidate));
  const turnover = (Math.max(0, sequences + 1 - places) / places) * TURNOVER_SECONDS;
  return (tokens / Math.max(1, tokensPerSecond ?? pace)) * slowdown + turnover;
}

/** 1 up to `from` times the mean, 0 from `to` times on. */
function fadeBetween(
  { from, to }: { readonly from: number; readonly to: number },
  { value, mean }: { readonly value: number; readonly mean: number },
): number {
  return Math.min(1, Math.max(0, (to * mean - value) / Math.max(1e-9, (to - from) * mean)));
}

/** Sequences per place. */
function loadOf({ sequences, maxSequences }: Candidate): number {
  return sequences / Math.max(1, maxSequences);
}
