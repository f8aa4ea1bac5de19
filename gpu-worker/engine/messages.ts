/** What crosses between the worker's main thread and its engine thread. Plain structured-cloneable values. */
import type { ErrorCode } from '../../shared/errors.ts';
import type { DrawnLogprobs, FinishReason, Timings, Usage } from '../../shared/protocol.ts';
import type { PrefixChanges, PrefixMark } from '../prefix/prefix-mark.ts';
import type { RunnerInfo } from './runner.ts';
import type { StepCoefficients } from './step-cost.ts';

/** off; auto: as many drafts as pay, by the drafter that fits; n-gram: always by prompt lookup. */
export type Speculation = 'off' | 'auto' | 'n-gram';

/** Sampling parameters with the model's and the server's defaults filled in. Ranges are checked by whoever made it. */
export interface EngineSampling {
  /** prompt + maxTokens ≤ maxModelLen. */
  readonly maxTokens: number;
  /** No end-of-sequence token, stop token or stop text before so many output tokens. */
  readonly minTokens: number;
  /** 0 = greedy. */
  readonly temperature: number;
  readonly topP: number;
  /** 0 = off. */
  readonly topK: number;
  readonly minP: number;
  /** Null = unseeded. */
  readonly seed: number | null;
  /** 1 = off. */
  readonly repetitionPenalty: number;
  readonly frequencyPenalty: number;
  readonly presencePenalty: number;
  readonly logitBias: readonly (readonly [id: number, bias: number])[];
  /** Alternatives to report for each token; null = no log probabilities. */
  readonly logprobs: number | null;
  readonly stop: readonly string[];
  readonly stopTokenIds: readonly number[];
  /** The model's end-of-sequence ids; empty to generate through them (ignore_eos). */
  readonly eosIds: readonly number[];
}

/** A tokenized request. */
export interface EngineRequest {
  readonly id: string;
  readonly tenant: string;
  /** Requests of different salts share no cached prefix. */
  readonly cacheSalt: string;
  readonly promptIds: Int32Array;
  /** Tokens an earlier attempt has already put out; they count as output and are not emitted again. Needs n = 1. */
  readonly generatedIds: readonly number[];
  /** Choices to generate from the one prompt. */
  readonly n: number;
  readonly params: EngineSampling;
  readonly speculation: Speculation;
  /** Absolute, Unix milliseconds. */
  readonly deadlineMs: number;
  /** Higher runs first. */
  readonly priority: number;
  /** The output begins inside the model's reasoning (its template opened it); null: this model has no such marks. */
  readonly reasoning: 'open' | 'closed' | null;
  /** Prefixes of the prompt whose KV events are wanted, shortest first. */
  readonly marks?: readonly PrefixMark[];
  /** Tokens of a registered system prompt at its beginning: their KV is evicted last. */
  readonly pinnedTokens?: number;
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
  /** The same for text of the model's reasoning; null when there is none. */
  readonly reasoning: readonly string[] | null;
  /** One for each id; null when not asked for. */
  readonly logprobs: readonly DrawnLogprobs[] | null;
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
  /** Sequences, one for each choice. */
  readonly running: number;
  readonly waiting: number;
  /** Prompt tokens admitted but not computed. */
  readonly queuedPrefillTokens: number;
  readonly kv: {
    /** Tokens: in all, held by live sequences, held by the prefix cache alone, pinned of those. */
    readonly capacity: number;
    readonly live: number;
    readonly cached: number;
    readonly pinned: number;
    /** Totals since the start. */
    readonly prefixQueries: number;
    readonly prefixHits: number;
  };
}

export interface StepStats {
  readonly tokens: number;
  readonly rows: number;
  readonly decodeRows: number;
  /** Of `tokens`: those of prompts. */
  readonly prefillTokens: number;
  /** Some prompt has more than the step took. */
  readonly promptsLeft: boolean;
  readonly scheduleMs: number;
  readonly runMs: number;
  readonly sampleMs: number;
  readonly commitMs: number;
  readonly preemptions: number;
  readonly draftedTokens: number;
  readonly acceptedTokens: number;
  /** Rows that verified drafts. */
  readonly drafts: number;
  /** The step-cost model: null while it has no figure. */
  readonly cost: { readonly medianError: number; readonly coefficients: StepCoefficients } | null;
}

/**
 * How far the engine is while it loads. weights: bytes read and rounded, as float32; pruning: models scored to see which
 * layers can go; calibration: prompt tokens run for the scales of a rounded KV cache.
 */
export interface LoadingProgress {
  readonly work: 'weights' | 'pruning' | 'calibration';
  readonly done: number;
  readonly total: number;
}

export type EngineEvent =
  | ({ readonly type: 'loading' } & LoadingProgress)
  | { readonly type: 'ready'; readonly info: EngineInfo }
  /** After every step, and after commands that ended requests without one (then `step` is null). */
  | {
      readonly type: 'outputs';
      readonly deltas: readonly ChoiceDelta[];
      readonly ends: readonly RequestEnd[];
      readonly load: EngineLoad;
      readonly step: StepStats | null;
      /** News of marked prefixes, if any. */
      readonly prefixes?: PrefixChanges | null;
    }
  /** The engine cannot go on (load failed, invariants broken); the thread ends after this. */
  | { readonly type: 'fatal'; readonly message: string };

export interface EngineInfo extends RunnerInfo {
  readonly loadMs: number;
}
