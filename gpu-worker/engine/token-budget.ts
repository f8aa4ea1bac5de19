/** Pure policy: how many tokens each sequence runs in the next step. */

/**
 * Shares `budget` tokens among sequences that have `remaining[i]` tokens to compute, in order of precedence.
 * Whoever needs one token (decoding) comes first, so that a long prompt never stalls running streams; what is left
 * fills prompts in order, the last one in part (chunked prefill, Sarathi-Serve). Returns a count per sequence.
 */
export function shareTokenBudget(remaining: readonly number[], budget: number): readonly number[] {
  const counts = remaining.map(() => 0);
  let left = budget;
  remaining.forEach((need, i) => {
    if (need !== 1 || left === 0) return;
    counts[i] = 1;
    left--;
  });
  remaining.forEach((need, i) => {
    if (need <= 1 || left === 0) return;
    const count = Math.min(need, left);
    counts[i] = count;
    left -= count;
  });
  return counts;
}
