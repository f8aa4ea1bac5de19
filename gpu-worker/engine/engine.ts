/** The loop's body: schedule → launch → collect → commit → emit. Owns no policy and no thread. */
import { performance } from 'node:perf_hooks';
import { toMillraceError, type ErrorCode } from '../../shared/errors.ts';
import { NO_USAGE } from '../../shared/protocol.ts';
import { createKvCache } from '../kv/create.ts';
import type { KvCache } from '../kv/kv-cache.ts';
import type { LogitsMask } from '../sample/logits-rules.ts';
import { MarkTable } from '../prefix/mark-table.ts';
import type { PrefixChanges } from '../prefix/prefix-mark.ts';
import { Speculation } from '../speculate/speculation.ts';
import type { TokenBytes } from '../text/detokenizer.ts';
import type { EnginePolicy } from './engine-options.ts';
import type { ChoiceDelta, EngineLoad, EngineRequest, RequestEnd, StepStats } from './messages.ts';
import { runningSeqs } from './modes.ts';
import { acceptedDrafts, RequestOutput } from './request-output.ts';
import type { ModelRunner } from './runner.ts';
import { Scheduler, type DrawnTokens } from './scheduler.ts';
import type { Sequence } from './sequence.ts';
import type { PlannedStep } from './step-builder.ts';
import { StepMeter } from './step-meter.ts';
import type { StepPlan } from './step-plan.ts';

export interface EngineParts {
  readonly runner: ModelRunner;
  readonly tokenBytes: TokenBytes;
  readonly policy: EnginePolicy;
  /** Unix milliseconds, for deadlines. */
  readonly now: () => number;
  /** Structured output's masks; by default there are none. */
  readonly maskFor?: (request: EngineRequest, choice: number) => LogitsMask | null;
}

export interface EngineOutputs {
  readonly deltas: readonly ChoiceDelta[];
  readonly ends: readonly RequestEnd[];
  readonly step: StepStats | null;
  /** News of marked prefixes. */
  readonly prefixes: PrefixChanges | null;
}

/** Marked prefixes kept track of. */
const MAX_MARKS = 4096;
/** Prompts with marks may have so many times the tokens of the KV cache: they share prefixes. */
const MARKED_TOKENS_FACTOR = 4;
/** Time for looking after marks: with every step, and at once when nothing runs. Milliseconds. */
const MARKS_STEP_MS = 0.25;
const MARKS_IDLE_MS = 2;

interface LaunchedStep {
  readonly planned: PlannedStep;
  readonly scheduleMs: number;
}

const MODEL_FAILED: Reason = { code: 'model_error', message: 'The model failed while processing this request.' };
/** Another worker may serve it. */
const DEVICE_LOST: Reason = { code: 'worker_lost', message: 'The worker was lost while processing this request.' };

type Reason = { readonly code: ErrorCode; readonly message: string };

export class Engine {
  readonly #parts: EngineParts;
  readonly #kv: KvCache;
  readonly #meter: StepMeter;
  readonly #scheduler: Scheduler;
  readonly #marks: MarkTable;
  readonly #requests = new Map<string, RequestOutput>();
  readonly #launched: LaunchedStep[] = [];
  #deltas: ChoiceDelta[] = [];
  #ends: RequestEnd[] = [];
  #preemptionsSeen = 0;

  constructor(parts: EngineParts) {
    const { runner, policy, maskFor = () => null } = parts;
    const { kv: layout, maxModelLen, maxStepTokens } = runner.info;
    this.#parts = parts;
    this.#kv = createKvCache(layout, runner.info.maxNumSeqs);
    const maxNumSeqs = runningSeqs(policy.mode, runner.info.maxNumSeqs);
    const maxTokens = MARKED_TOKENS_FACTOR * layout.capacityTokens;
    this.#marks = new MarkTable({ kv: this.#kv, maxMarks: MAX_MARKS, maxTokens, now: () => performance.now() });
    this.#meter = new StepMeter(policy, maxStepTokens);
    this.#scheduler = new Scheduler({
      ...{ kv: this.#kv, maxNumSeqs, maxModelLen, maskFor, prefixCaching: policy.prefixCaching },
      tokenBudget: (decoding, kvTokens) => this.#meter.tokenBudget(decoding, kvTokens),
      draftBudget: this.#meter.draftBudget,
      drafting: policy.speculation === 'off' ? null : new Speculation(this.#meter),
    });
  }

  get busy(): boolean {
    return this.#requests.size + this.#launched.length > 0;
  }

  get load(): EngineLoad {
    const { running, waitingCount: waiting, queuedPrefillTokens } = this.#scheduler;
    const { capacity, live, cached, pinned, queries: prefixQueries, hits: prefixHits } = this.#kv.usage();
    const kv = { capacity, live, cached, pinned, prefixQueries, prefixHits };
    return { running: running.size, waiting, queuedPrefillTokens, kv };
  }

  add(request: EngineRequest): void {
    if (this.#requests.has(request.id)) throw new Error(`request ${request.id} is here already`);
    const { kv, maxModelLen } = this.#parts.runner.info;
    const most = request.promptIds.length + request.params.maxTokens;
    if (most > Math.min(kv.capacityTokens, maxModelLen)) {
      const message =
        most > maxModelLen
          ? `Prompt and output may have ${maxModelLen} tokens, the request asks for up to ${most}.`
          : `The request needs up to ${most} tokens of KV cache, the worker has ${kv.capacityTokens}.`;
      const usage = { ...NO_USAGE, promptTokens: request.promptIds.length };
      this.#ends.push({ type: 'error', id: request.id, code: 'context_length_exceeded', message, usage });
      return;
    }
    const output = new RequestOutput(request, this.#scheduler.add(request), this.#parts.tokenBytes);
    this.#requests.set(request.id, output);
    if (this.#parts.policy.prefixCaching) this.#marks.add(request);
  }

  /** Ends a request with an error output; unknown ids are ignored (it may just have ended). */
  abort(id: string, reason: Reason): void {
    const output = this.#requests.get(id);
    if (output !== undefined) this.#fail(output, reason);
  }

  /** Runs until one plan is committed, or nothing is left to run. */
  step(): EngineOutputs {
    this.#expire();
    let step: StepStats | null = null;
    try {
      this.#launch();
      step = this.#commitOldest();
    } catch (thrown) {
      this.#failStep(thrown);
    }
    this.#marks.check(MARKS_STEP_MS);
    return { ...this.takeOutputs(), step };
  }

  /** While nothing runs: looks after some of the marked prefixes; true when there are more. `afresh`: begins with all. */
  checkPrefixes(afresh: boolean): boolean {
    return this.#marks.check(MARKS_IDLE_MS, afresh);
  }

  /** Outputs since the last call, for commands that ended requests between steps. */
  takeOutputs(): Omit<EngineOutputs, 'step'> {
    const taken = { deltas: this.#deltas, ends: this.#ends, prefixes: this.#marks.take() };
    this.#deltas = [];
    this.#ends = [];
    return taken;
  }

  violations(): readonly string[] {
    return this.#scheduler.violations();
  }

  #launch(): void {
    while (this.#launched.length < this.#parts.runner.depth) {
      const begin = performance.now();
      const planned = this.#scheduler.schedule();
      if (planned === null) return;
      for (const { sequence } of planned.members) this.#requests.get(sequence.request.id)?.markScheduled();
      const scheduleMs = performance.now() - begin;
      this.#parts.runner.launch(planned.plan);
      this.#launched.push({ planned, scheduleMs });
    }
  }

  #commitOldest(): StepStats | null {
    const oldest = this.#launched[0];
    if (oldest === undefined) return null;
    const { planned, scheduleMs } = oldest;
    const result = this.#parts.runner.collect();
    const begin = performance.now();
    this.#launched.shift();
    this.#meter.observe(planned.plan, result.runMs + result.sampleMs);
    const { drawn, failed } = this.#scheduler.commit(planned, result);
    let acceptedTokens = 0;
    for (const each of drawn) acceptedTokens += this.#emit(each);
    for (const { sequence, problem } of failed) {
      logFailure('row-failed', problem);
      this.#failSequences([sequence], MODEL_FAILED);
    }
    const preemptions = this.#scheduler.preemptions - this.#preemptionsSeen;
    this.#preemptionsSeen = this.#scheduler.preemptions;
    return {
      ...{ scheduleMs, runMs: result.runMs, sampleMs: result.sampleMs, commitMs: performance.now() - begin },
      ...{ ...countRows(planned.plan), acceptedTokens, preemptions, cost: this.#meter.cost },
    };
  }

  /** Returns how many drafts became output. */
  #emit(drawn: DrawnTokens): number {
    const { sequence } = drawn;
    const output = this.#requests.get(sequence.request.id);
    this.#marks.settle(sequence.request.id);
    const delta = output?.push(drawn) ?? null;
    if (output === undefined || delta === null) return 0;
    this.#deltas.push(delta);
    if (delta.finish !== null) this.#finish(output, sequence);
    return acceptedDrafts(drawn, delta);
  }

  #finish(output: RequestOutput, sequence: Sequence): void {
    this.#scheduler.finish(sequence);
    if (output.open.size > 0) return;
    this.#requests.delete(output.request.id);
    this.#ends.push({ type: 'done', id: output.request.id, usage: output.usage, timings: output.timings });
  }

  #fail(output: RequestOutput, { code, message }: Reason): void {
    for (const sequence of output.open) this.#scheduler.finish(sequence);
    this.#requests.delete(output.request.id);
    this.#marks.settle(output.request.id);
    this.#ends.push({ type: 'error', id: output.request.id, code, message, usage: output.usage });
  }

  /** A failed step ends the requests that were in it, frees what they held, and leaves the others alone. */
  #failStep(thrown: unknown): void {
    this.#launched.length = 0;
    const error = toMillraceError(thrown);
    logFailure('step-failed', String(error.cause ?? error));
    const { lost = null } = this.#parts.runner;
    this.#failSequences(this.#scheduler.rollback(), lost === null ? MODEL_FAILED : DEVICE_LOST);
    this.#scheduler.forgetKv();
  }

  /** Ends their requests, with all choices. */
  #failSequences(sequences: readonly Sequence[], reason: Reason): void {
    for (const { request } of sequences) {
      const output = this.#requests.get(request.id);
      if (output !== undefined) this.#fail(output, reason);
    }
  }

  #expire(): void {
    const now = this.#parts.now();
    for (const output of this.#requests.values()) {
      if (output.request.deadlineMs > now) continue;
      this.#fail(output, { code: 'deadline_exceeded', message: 'The request ran past its deadline.' });
    }
  }
}

/** What happened inside, for the operator; the client is told no internals. */
function logFailure(event: string, error: string): void {
  process.stderr.write(`${JSON.stringify({ event, error })}\n`);
}

type RowCounts = Pick<
  StepStats,
  'tokens' | 'rows' | 'decodeRows' | 'prefillTokens' | 'promptsLeft' | 'drafts' | 'draftedTokens'
>;

function countRows({ rows, tokens }: StepPlan): RowCounts {
  let [decodeRows, prefillTokens, drafts, draftedTokens] = [0, 0, 0, 0];
  let promptsLeft = false;
  for (const { ids, draws } of rows) {
    if (ids.length === draws) decodeRows++;
    else prefillTokens += ids.length;
    if (draws === 0) promptsLeft = true;
    if (draws > 1) drafts++;
    if (draws > 1) draftedTokens += draws - 1;
  }
  return { tokens, rows: rows.length, decodeRows, prefillTokens, promptsLeft, drafts, draftedTokens };
}
