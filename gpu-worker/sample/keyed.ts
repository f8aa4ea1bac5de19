/**
 * The keyed sampler: an exact draw whose noise depends only on (seed, choice, output index, token id), so batch,
 * preemption and speculation cannot change it. Gumbel-max over the likeliest tokens, the rest as one more candidate
 * that is resolved by inverse CDF. Knows no tensors and no model.
 */
import type { SampleSpec } from '../engine/step-plan.ts';
import { gumbel, rowKey, TAIL_KEY, TAIL_PICK_KEY, uniform } from './noise.ts';

/** The likeliest tokens of a row, likeliest first. */
export interface TopCandidates {
  readonly probs: Float32Array;
  readonly ids: Int32Array;
}

/** Tokens that truncation leaves beyond the candidates, with their summed probability. */
interface Tail {
  /** Candidates that survive truncation: all, when any token beyond them does. */
  readonly candidates: number;
  readonly mass: number;
  /** Ids in a fixed order; `null`: every token that is not a candidate, by id. */
  readonly ids: Int32Array | null;
}

/**
 * Draws the row's token. `fullRow` [V] holds the probabilities at the row's temperature; it is read only when the
 * candidates do not decide. Truncation order follows vLLM: top-k, then top-p over what is left, then min-p.
 */
export function drawKeyed(top: TopCandidates, fullRow: Float32Array, spec: SampleSpec): number {
  const inside = keptCandidates(top, fullRow.length, spec);
  const tail = inside === null ? tailOf(top, fullRow, spec) : null;
  const kept = inside ?? tail?.candidates ?? 0;
  const key = rowKey(spec);
  let best = top.ids[0] ?? 0;
  let bestScore = -Infinity;
  for (let i = 0; i < kept; i++) {
    const id = top.ids[i] ?? 0;
    const score = Math.log(top.probs[i] ?? 0) + gumbel(key, id);
    if (score > bestScore) [best, bestScore] = [id, score];
  }
  if (tail === null || tail.mass <= 0 || Math.log(tail.mass) + gumbel(key, TAIL_KEY) <= bestScore) return best;
  return pickFromTail(top, fullRow, { tail, at: uniform(key, TAIL_PICK_KEY) }) ?? best;
}

/** How many candidates survive top-k, top-p and min-p; null when survivors may lie beyond the candidates. */
function keptCandidates(top: TopCandidates, vocabSize: number, spec: SampleSpec): number | null {
  const count = top.ids.length;
  const k = spec.topK === 0 ? vocabSize : Math.min(spec.topK, vocabSize);
  const limit = Math.min(k, count);
  const whole = limit === k;
  if (spec.topP >= 1 && spec.minP <= 0) return whole ? limit : null;
  let mass = 1;
  if (k < vocabSize) {
    // Top-p counts in the distribution that top-k leaves: unknown here when k reaches beyond the candidates.
    if (!whole) return null;
    mass = sum(top.probs, limit);
  }
  const cut = truncate(top.probs, limit, { topP: spec.topP * mass, minP: spec.minP });
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

function tailOf(top: TopCandidates, fullRow: Float32Array, spec: SampleSpec): Tail {
  const truncated = spec.topP < 1 || spec.minP > 0 || spec.topK > 0;
  const all = top.ids.length;
  if (!truncated) return { candidates: all, mass: 1 - sum(top.probs, all), ids: null };
  const order = Int32Array.from(fullRow.keys()).sort((a, b) => (fullRow[b] ?? 0) - (fullRow[a] ?? 0) || a - b);
  const sorted = Float32Array.from(order, (id) => fullRow[id] ?? 0);
  const k = spec.topK === 0 ? sorted.length : Math.min(spec.topK, sorted.length);
  const topP = spec.topP >= 1 ? Infinity : spec.topP * sum(sorted, k);
  const kept = truncate(sorted, k, { topP, minP: spec.minP });
  const candidates = new Set(top.ids);
  const ids = order.subarray(0, kept).filter((id) => !candidates.has(id));
  return { candidates: Math.min(kept, all), mass: ids.reduce((total, id) => total + (fullRow[id] ?? 0), 0), ids };
}

/** Inverse CDF inside the tail at `at` in (0, 1); null when rounding left the tail empty. */
function pickFromTail(
  top: TopCandidates,
  fullRow: Float32Array,
  pick: { readonly tail: Tail; readonly at: number },
): number | null {
  const ids = pick.tail.ids ?? othersThan(top.ids, fullRow.length);
  // The mass as summed here, so that the walk below cannot run past the end.
  let total = 0;
  for (const id of ids) total += fullRow[id] ?? 0;
  let left = pick.at * total;
  let last: number | null = null;
  for (const id of ids) {
    const p = fullRow[id] ?? 0;
    if (p <= 0) continue;
    last = id;
    left -= p;
    if (left < 0) return id;
  }
  return last;
}

/** Every id below `count` that is not among `ids`, ascending. */
function othersThan(ids: Int32Array, count: number): Int32Array {
  const skip = Int32Array.from(ids).sort();
  const others = new Int32Array(count - skip.length);
  let at = 0;
  for (let id = 0, filled = 0; id < count; id++) {
    if (skip[at] === id) at++;
    else others[filled++] = id;
  }
  return others;
}

function sum(values: Float32Array, count: number): number {
  let total = 0;
  for (let i = 0; i < count; i++) total += values[i] ?? 0;
  return total;
}
