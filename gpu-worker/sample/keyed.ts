/**
 * The keyed sampler: an exact draw whose noise depends only on (seed, choice, output index, token id), so batch,
 * preemption and speculation cannot change it. Gumbel-max over the likeliest tokens, the rest as one more candidate
 * that is resolved by inverse CDF. Knows no tensors and no model.
 */
import { gumbel, TAIL_KEY, TAIL_PICK_KEY, uniform } from './noise.ts';
import { LEAST_PROB, Ranking } from './ranking.ts';
import type { Goal } from './ranking.ts';

/** One row at its temperature. */
export interface ProbRow {
  readonly vocabSize: number;
  /** [V], by id; read only when the candidates do not decide. */
  readonly probs: Float32Array;
  /** The likeliest tokens, likeliest first, equal ones by id: the candidates. */
  readonly topProbs: Float32Array;
  readonly topIds: Int32Array;
}

/** In vLLM's order: top-k, then top-p over what is left, then min-p relative to the likeliest token. */
export interface Truncation {
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
}

/** Whether any token can be dropped. */
export function truncates({ topK, topP, minP }: Truncation): boolean {
  return topK > 0 || topP < 1 || minP > 0;
}

/** A softmax in float32 over many tokens sums to 1 only about: far less than this is missing or too much. */
const TOTAL_ERROR = 0.01;

/** Draws the row's token with the noise of `key` (`drawKey`). At least one token has a probability. */
export function drawKeyed(row: ProbRow, truncation: Truncation, key: number): number {
  const inside = keptCandidates(row, truncation);
  if (inside !== null) return bestCandidate(row, inside, key).id;
  return truncates(truncation) ? drawRanked(row, truncation, key) : drawWhole(row, key);
}

interface Scored {
  readonly id: number;
  readonly score: number;
}

/** Gumbel-max over the first `count` candidates. */
function bestCandidate({ topProbs, topIds }: ProbRow, count: number, key: number): Scored {
  let best = topIds[0] ?? 0;
  let bestScore = -Infinity;
  for (let i = 0; i < count; i++) {
    const p = topProbs[i] ?? 0;
    if (p < LEAST_PROB) break;
    const id = topIds[i] ?? 0;
    const score = Math.log(p) + gumbel(key, id);
    if (score > bestScore) [best, bestScore] = [id, score];
  }
  return { id: best, score: bestScore };
}

/** Truncation that reaches beyond the candidates. */
function drawRanked(row: ProbRow, truncation: Truncation, key: number): number {
  const ranking = new Ranking(row.probs);
  const kept = keptOf(ranking, truncation, row);
  const best = bestCandidate(row, Math.min(kept.count, row.topIds.length), key);
  if (kept.count <= row.topIds.length) return best.id;
  const candidates = sum(row.topProbs, row.topProbs.length);
  const tail = kept.mass - candidates;
  if (tail <= 0 || tailScore(tail, key) <= best.score) return best.id;
  const mass = candidates + uniform(key, TAIL_PICK_KEY) * tail;
  return ranking.until({ count: kept.count, mass }).last;
}

/** Count and mass of what top-k, top-p and min-p leave. */
function keptOf(ranking: Ranking, { topK, topP, minP }: Truncation, { vocabSize, topProbs }: ProbRow): Goal {
  const count = topK === 0 ? vocabSize : Math.min(topK, vocabSize);
  let bound = Infinity;
  if (topP < 1) bound = topP * (count < vocabSize ? ranking.until({ count, mass: Infinity }).mass : 1);
  const kept = ranking.until({ count, mass: bound });
  const likely = minP > 0 ? ranking.atLeast((topProbs[0] ?? 0) * minP) : kept;
  return likely.count < kept.count ? likely : kept;
}

/** No truncation: the tail is every token that is not a candidate, by id. */
function drawWhole(row: ProbRow, key: number): number {
  const best = bestCandidate(row, row.topIds.length, key);
  const most = 1 - sum(row.topProbs, row.topProbs.length) + TOTAL_ERROR;
  if (tailScore(most, key) <= best.score) return best.id;
  // The true mass costs a pass over the row, which few draws need.
  const skip = Int32Array.from(row.topIds).sort();
  const total = walkOthers(row.probs, skip, Infinity).mass;
  if (total <= 0 || tailScore(total, key) <= best.score) return best.id;
  return walkOthers(row.probs, skip, uniform(key, TAIL_PICK_KEY) * total).id;
}

function tailScore(mass: number, key: number): number {
  return Math.log(mass) + gumbel(key, TAIL_KEY);
}

/** Adds up the tokens that are not in `skip` (ascending) by id until their mass exceeds `until`; the last one added. */
function walkOthers(probs: Float32Array, skip: Int32Array, until: number): { id: number; mass: number } {
  let mass = 0;
  let last = 0;
  for (let gap = 0, id = 0; gap <= skip.length && mass <= until; gap++, id++) {
    const end = skip[gap] ?? probs.length;
    for (; id < end && mass <= until; id++) {
      const p = probs[id] ?? 0;
      if (p < LEAST_PROB) continue;
      last = id;
      mass += p;
    }
  }
  return { id: last, mass };
}

/** How many candidates survive top-k, top-p and min-p; null when survivors may lie beyond the candidates. */
function keptCandidates({ vocabSize, topProbs }: ProbRow, { topK, topP, minP }: Truncation): number | null {
  const k = topK === 0 ? vocabSize : Math.min(topK, vocabSize);
  const limit = Math.min(k, topProbs.length);
  const whole = limit === k;
  if (topP >= 1 && minP <= 0) return whole ? limit : null;
  let mass = 1;
  if (k < vocabSize) {
    // Top-p counts in the distribution that top-k leaves: unknown here when k reaches beyond the candidates.
    if (!whole) return null;
    mass = sum(topProbs, limit);
  }
  const cut = truncate(topProbs, limit, { topP: topP * mass, minP });
  return cut < limit || whole ? cut : null;
}

/** First index that top-p (a mass) or min-p (relative to the likeliest) drops; `limit` when none does. At least 1. */
function truncate(probs: Float32Array, limit: number, bound: { topP: number; minP: number }): number {
  const least = (probs[0] ?? 0) * bound.minP;
  let before = 0;
  for (let i = 0; i < limit; i++) {
    const p = probs[i] ?? 0;
    if (i > 0 && (before >= bound.topP || p < least)) return i;
    before += p;
  }
  return limit;
}

function sum(values: Float32Array, count: number): number {
  let total = 0;
  for (let i = 0; i < count; i++) total += values[i] ?? 0;
  return total;
}
