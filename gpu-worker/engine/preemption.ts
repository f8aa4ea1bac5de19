/** Pure policy: who gives up its KV when a running sequence finds no room. Knows no blocks. */

export interface Preemptible {
  /** Higher runs first. */
  readonly priority: number;
  /** Order of arrival, smaller is earlier. */
  readonly arrival: number;
}

/** True when `a` comes before `b`: higher priority, then first come. */
export function precedes(a: Preemptible, b: Preemptible): boolean {
  return a.priority === b.priority ? a.arrival < b.arrival : a.priority > b.priority;
}

/**
 * The sequence to preempt so that `needy` may go on: of the running, the last in precedence (lowest priority, then
 * latest arrival: vLLM's preemption by recompute). It may be `needy` itself. Null: all others come before it and it is
 * not among them. A victim with tokens in flight gives its room only when those plans have retired: until then the
 * caller waits, as another victim would be one too many.
 */
export function chooseVictim<T extends Preemptible>(running: Iterable<T>, needy: T): T | null {
  let last: T | null = null;
  for (const each of running) {
    if (each !== needy && precedes(each, needy)) continue;
    if (last === null || precedes(last, each)) last = each;
  }
  return last;
}
