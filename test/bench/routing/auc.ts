/** Can two samples be told apart? The area under the ROC curve, and how often chance alone would show as much. Pure. */

/** Probability that a value of `slow` exceeds one of `fast`, ties counting half: 0.5 = no telling, 1 = always. */
export function auc(fast: readonly number[], slow: readonly number[]): number {
  const all = [...fast.map((value) => ({ value, isSlow: false })), ...slow.map((value) => ({ value, isSlow: true }))];
  all.sort((a, b) => a.value - b.value);
  let rankSum = 0;
  for (let i = 0; i < all.length;) {
    let end = i;
    while (all[end + 1]?.value === all[i]?.value) end++;
    const rank = (i + end) / 2 + 1;
    for (; i <= end; i++) if (all[i]?.isSlow === true) rankSum += rank;
  }
  return (rankSum - (slow.length * (slow.length + 1)) / 2) / (fast.length * slow.length);
}

/** Share of random labellings whose AUC is at least as far from 0.5: Fisher's permutation test, two-sided. */
export function permutationP(
  fast: readonly number[],
  slow: readonly number[],
  { rounds, random }: { readonly rounds: number; readonly random: () => number },
): number {
  const seen = Math.abs(auc(fast, slow) - 0.5);
  let asFar = 1;
  for (let round = 0; round < rounds; round++) {
    const all = shuffled([...fast, ...slow], random);
    if (Math.abs(auc(all.slice(0, fast.length), all.slice(fast.length)) - 0.5) >= seen) asFar++;
  }
  return asFar / (rounds + 1);
}

/** Fisher and Yates. */
export function shuffled<T>(items: readonly T[], random: () => number): T[] {
  const mixed = [...items];
  for (let i = mixed.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [mixed[i], mixed[j]] = [mixed[j] as T, mixed[i] as T];
  }
  return mixed;
}
