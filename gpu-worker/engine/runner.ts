/** The contract of a model runner: takes step plans in order, gives results in order. Knows no scheduling. */
import type { StepPlan, StepResult } from './step-plan.ts';

/** How the runner lays out keys and values. */
export interface KvLayout {
  /** slots: a block holds one whole sequence, and rows of one token run fastest in adjacent ones. */
  readonly kind: 'slots' | 'blocks';
  readonly blocks: number;
  /** Tokens of a block; with slots the longest sequence. */
  readonly blockSize: number;
  /** Tokens that may be held at once, less than blocks × blockSize where memory is the bound. */
  readonly capacityTokens: number;
}

export interface RunnerInfo {
  readonly vocabSize: number;
  /** Longest sequence (prompt + output), tokens: the model's own limit or the configured one, whichever is less. */
  readonly maxModelLen: number;
  /** Most rows of a plan. */
  readonly maxNumSeqs: number;
  /** Most tokens of a plan. */
  readonly maxStepTokens: number;
  readonly kv: KvLayout;
  /** Number format of keys and values; left out where nothing is computed. */
  readonly kvType?: string;
  /** End-of-sequence ids of the model. */
  readonly eosIds: readonly number[];
  /** Names weights, quantization, KV type and runtime: runners with equal fingerprints draw equal tokens. */
  readonly fingerprint: string;
  /** Number of the GPU that it runs on; left out on the CPU. */
  readonly gpu?: number;
}

/**
 * Synchronous on purpose: it lives on the engine's own thread. At most `depth` plans may be launched and not yet
 * collected. `launch` may return before the work is done (CUDA); `collect` blocks until the oldest launched plan is.
 * Both throw on failure, after which every launched plan is void and the runner accepts new plans again.
 */
export interface ModelRunner {
  readonly info: RunnerInfo;
  readonly depth: 1 | 2;
  /** Why nothing can ever be run again, such as a lost device; null or left out while plans can run. */
  readonly lost?: string | null;
  launch(plan: StepPlan): void;
  collect(): StepResult;
  dispose(): void;
}
