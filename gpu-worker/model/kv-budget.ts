/** Pure: how many tokens of keys and values fit in memory. Knows no tensors. */

export interface KvBudget {
  readonly slots: number;
  /** Tokens of a slot. */
  readonly maxModelLen: number;
  readonly bytesPerToken: number;
  /** Memory of the machine, and what weights and working memory take of it. */
  readonly memoryBytes: number;
  readonly weightBytes: number;
  /** Share of the machine's memory that weights and KV cache may fill, 0 to 1. */
  readonly memoryUtilization: number;
  /** The operator's own figure; null = as much as fits. */
  readonly kvCacheTokens: number | null;
}

/** Tokens that may be held at once. Throws with figures when not even one sequence of `maxModelLen` fits. */
export function kvCapacityTokens(budget: KvBudget): number {
  const { slots, maxModelLen, bytesPerToken, memoryBytes, weightBytes, memoryUtilization, kvCacheTokens } = budget;
  if (!(memoryUtilization > 0 && memoryUtilization <= 1)) {
    throw new RangeError(`memoryUtilization = ${memoryUtilization} must be above 0 and at most 1`);
  }
  if (kvCacheTokens !== null) {
    if (!Number.isInteger(kvCacheTokens) || kvCacheTokens < maxModelLen) {
      throw new RangeError(
        `--kv-cache-tokens (kvCacheTokens) is ${kvCacheTokens}: it must be an integer of at least ${maxModelLen}, ` +
          'the longest sequence; raise it or lower --max-model-len (maxModelLen)',
      );
    }
    return Math.min(kvCacheTokens, slots * maxModelLen);
  }
  const fitting = Math.floor((memoryBytes * memoryUtilization - weightBytes) / bytesPerToken);
  if (fitting < maxModelLen) {
    throw new RangeError(
      `the KV cache has room for ${Math.max(0, fitting)} tokens, one sequence may need ${maxModelLen}: ` +
        `${memoryUtilization} of ${megabytes(memoryBytes)} MB memory less ${megabytes(weightBytes)} MB weights, ` +
        `${bytesPerToken} bytes a token; lower --max-model-len (maxModelLen), or raise --gpu-memory-utilization ` +
        '(memoryUtilization) if nothing else runs here',
    );
  }
  return Math.min(fitting, slots * maxModelLen);
}

const megabytes = (bytes: number): number => Math.round(bytes / 1e6);
