/** What crosses between the worker's main thread and its engine thread. Plain structured-cloneable values. */
import type { ErrorCode } from '../../shared/errors.ts';
import type { FinishReason, Timings, Usage } from '../../shared/protocol.ts';
import type { SamplingParams } from '../../shared/sampling.ts';

/** A tokenized request. */
export interface EngineRequest {
  readonly id: string;
  readonly tenant: string;
  readonly promptIds: Int32Array;
  /** Tokens an earlier attempt has already put out; they count as output and are not emitted again. */
  readonly generatedIds: readonly number[];
  /** `maxTokens` resolved: prompt + maxTokens ≤ maxModelLen. */
  readonly params: SamplingParams & { readonly maxTokens: number; readonly seed: number };
  /** Absolute, Unix milliseconds. */
  readonly deadlineMs: number;
  readonly priority: number;
}

export type EngineCommand =
  | { readonly type: 'add'; readonly request: EngineRequest }
  /** Ends with an `error` output of this code; unknown ids are ignored. */
  | { readonly type: 'abort'; readonly id: string; readonly code: ErrorCode; readonly message: string }
  | { readonly type: 'shutdown' };

/** New output of one choice in one step. */
export interface ChoiceDelta {
  readonly id: string;
  readonly choice: number;
  /** Output index of `ids[0]`. */
  readonly offset: number;
  readonly ids: readonly number[];
  /** Text that became final with each id. */
  readonly pieces: readonly string[];
  readonly finish: FinishReason | null;
}

/** Exactly one per request. */
export type RequestEnd =
  | { readonly type: 'done'; readonly id: string; readonly usage: Usage; readonly timings: Timings }
  | {
      readonly type: 'error';
      readonly id: string;
      readonly code: ErrorCode;
      readonly message: string;
      readonly usage: Usage;
    };

/** State of the queues after a step, for admission, heartbeats and metrics. */
export interface EngineLoad {
  readonly running: number;
  readonly waiting: number;
  /** Prompt tokens admitted but not computed. */
  readonly queuedPrefillTokens: number;
  /** KV positions held by live sequences. */
  readonly kvTokens: number;
  readonly freeSlots: number;
}

export interface StepStats {
  readonly tokens: number;
  readonly rows: number;
  readonly decodeRows: number;
  readonly scheduleMs: number;
  readonly runMs: number;
  readonly sampleMs: number;
  readonly commitMs: number;
  readonly preemptions: number;
}

export type EngineEvent =
  | { readonly type: 'ready'; readonly info: EngineInfo }
  /** After every step, and after commands that ended requests without one (then `step` is null). */
  | {
      readonly type: 'outputs';
      readonly deltas: readonly ChoiceDelta[];
      readonly ends: readonly RequestEnd[];
      readonly load: EngineLoad;
      readonly step: StepStats | null;
    }
  /** The engine cannot go on (load failed, invariants broken); the thread ends after this. */
  | { readonly type: 'fatal'; readonly message: string };

export interface EngineInfo {
  readonly vocabSize: number;
  readonly maxModelLen: number;
  readonly slots: number;
  readonly eosIds: readonly number[];
  readonly fingerprint: string;
  readonly loadMs: number;
}
