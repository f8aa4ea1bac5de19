/** Test support: sampling by the book in float64, with full sorts, and the chi-square test. */
import type { SampleSpec } from '../../../gpu-worker/engine/step-plan.ts';
import type { Truncation } from '../../../gpu-worker/sample/keyed.ts';
import type { LogitsRules } from '../../../gpu-worker/sample/logits-rules.ts';
import { TokenHistory } from '../../../gpu-worker/sample/token-history.ts';

export const OFF: Truncation = { topK: 0, topP: 1, minP: 0 };

export const SPEC: SampleSpec = {
  temperature: 1,
  ...OFF,
  seed: null,
  choice: 0,
  index: 0,
  rules: null,
  logprobs: null,
};

export const NO_RULES: LogitsRules = {
  repetitionPenalty: 1,
  frequencyPenalty: 0,
  presencePenalty: 0,
  history: new TokenHistory(),
  bias: [],
  forbidden: null,
  mask: null,
};

export const NO_DRAFTS = new Int32Array();

/** Ids likeliest first, equal ones by id. */
export function sortedIds(row: ArrayLike<number>): number[] {
  return Array.from(row, (_, id) => id).sort((a, b) => (row[b] ?? 0) - (row[a] ?? 0) || a - b);
}

/** What truncation keeps, likeliest first: top-k, then top-p of the mass that is left, then min-p. */
export function keptIds(row: ArrayLike<number>, { topK, topP, minP }: Truncation): number[] {
  const order = sortedIds(row);
  const largest = row[order[0] ?? 0] ?? 0;
  const limited = topK > 0 && topK < order.length;
  const first = limited ? order.slice(0, topK) : order;
  const mass = limited ? first.reduce((sum, id) => sum + (row[id] ?? 0), 0) : 1;
  const kept: number[] = [];
  let before = 0;
  for (const id of first) {
    const p = row[id] ?? 0;
    if (kept.length > 0 && ((topP < 1 && before >= topP * mass) || p < minP * largest)) break;
    kept.push(id);
    before += p;
  }
  return kept;
}

/** The exact distribution after truncation. */
export function truncated(row: ArrayLike<number>, truncation: Truncation): Float64Array {
  const kept = keptIds(row, truncation);
  const mass = kept.reduce((sum, id) => sum + (row[id] ?? 0), 0);
  const result = new Float64Array(row.length);
  for (const id of kept) result[id] = (row[id] ?? 0) / mass;
  return result;
}

export function logSoftmax(logits: ArrayLike<number>): Float64Array {
  const values = Float64Array.from(logits);
  const largest = values.reduce((a, b) => Math.max(a, b), -Infinity);
  const normalizer = largest + Math.log(values.reduce((sum, logit) => sum + Math.exp(logit - largest), 0));
  return values.map((logit) => logit - normalizer);
}

export function softmax(logits: ArrayLike<number>, temperature: number): Float64Array {
  return logSoftmax(Float64Array.from(logits, (logit) => logit / temperature)).map(Math.exp);
}

/** The rules one after the other over the whole vocabulary; `output` includes the drafts. */
export function ruled(logits: ArrayLike<number>, rules: LogitsRules, output: readonly number[]): Float64Array {
  const { history, forbidden } = rules;
  return Float64Array.from(logits, (raw, id) => {
    const count = output.filter((token) => token === id).length;
    let logit = raw;
    if (count > 0 || history.placeOf(id) !== null) {
      logit = logit > 0 ? logit / rules.repetitionPenalty : logit * rules.repetitionPenalty;
    }
    logit -= rules.frequencyPenalty * count;
    if (count > 0) logit -= rules.presencePenalty;
    for (const [biased, bias] of rules.bias) if (biased === id) logit += bias;
    if (forbidden?.ids.includes(id) && output.length < forbidden.untilIndex) return -Infinity;
    const allowed = rules.mask?.allowed(NO_DRAFTS) ?? null;
    return allowed === null || (((allowed[id >> 5] ?? 0) >>> (id & 31)) & 1) === 1 ? logit : -Infinity;
  });
}

function countsOf(tokens: readonly number[]): Map<number, number> {
  const counts = new Map<number, number>();
  for (const token of tokens) counts.set(token, (counts.get(token) ?? 0) + 1);
  return counts;
}

/** The p-value must not be below 1e-4: its quantile of the normal distribution. */
const LARGEST_Z = 3.719;
/** Rarer tokens are tested together. */
const LEAST_EXPECTED = 10;

/** Null when the draws may come from `expected`, otherwise what is wrong (Pearson's test, Wilson and Hilferty's approximation). */
export function misfit(draws: readonly number[], expected: ArrayLike<number>): string | null {
  const counts = countsOf(draws);
  for (const id of counts.keys()) if (!((expected[id] ?? 0) > 0)) return `token ${id} has no probability`;
  let statistic = 0;
  let cells = 0;
  const rare = { count: 0, expected: 0 };
  const add = (count: number, mean: number) => {
    statistic += (count - mean) ** 2 / mean;
    cells++;
  };
  for (let id = 0; id < expected.length; id++) {
    const mean = (expected[id] ?? 0) * draws.length;
    const count = counts.get(id) ?? 0;
    if (mean >= LEAST_EXPECTED) add(count, mean);
    else [rare.count, rare.expected] = [rare.count + count, rare.expected + mean];
  }
  if (rare.expected >= LEAST_EXPECTED) add(rare.count, rare.expected);
  const freedom = cells - 1;
  if (freedom < 1) return 'too few categories to test';
  const spread = 2 / (9 * freedom);
  const z = (Math.cbrt(statistic / freedom) - (1 - spread)) / Math.sqrt(spread);
  return z < LARGEST_Z ? null : `chi-square ${statistic.toFixed(1)} at ${freedom} degrees of freedom`;
}
