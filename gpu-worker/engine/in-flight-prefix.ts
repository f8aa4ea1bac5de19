/** Pure policy: should a waiting sequence let another compute their common prefix first? */
import type { KvCache } from '../kv/kv-cache.ts';
import type { Sequence } from './sequence.ts';

/** Fewer tokens are sooner computed than waited for. */
const MIN_SHARED = 16;

/**
 * True when a running sequence is still computing a prefix that `sequence` shares and that the cache does not hold
 * yet: admitted a few steps later, `sequence` reuses it instead of computing it too.
 */
export function sharesPrefixInFlight(sequence: Sequence, running: Iterable<Sequence>, kv: KvCache): boolean {
  let shared = 0;
  for (const leader of running) {
    if (leader.prefillLeft < 1 || leader.salt !== sequence.salt) continue;
    const common = commonPrefix(leader, sequence);
    if (common > leader.computed) shared = Math.max(shared, common);
  }
  return shared >= MIN_SHARED && shared - kv.match(sequence.owner) >= MIN_SHARED;
}

function commonPrefix(a: Sequence, b: Sequence): number {
  const most = Math.min(a.request.promptIds.length, b.length);
  const [left, right] = [a.tokens, b.tokens];
  let common = 0;
  while (common < most && left[common] === right[common]) common++;
  return common;
}
