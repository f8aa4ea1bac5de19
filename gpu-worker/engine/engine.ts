/** The loop's body: schedule → launch → collect → commit → emit. Owns no policy and no thread. */
import { performance } from 'node:perf_hooks';
import { toMillraceError, type ErrorCode } from '../../shared/errors.ts';
import { Detokenizer, type TokenBytes } from '../text/detokenizer.ts';
import type { ChoiceDelta, EngineLoad, EngineRequest, RequestEnd, StepStats } from './messages.ts';
import { OutputStream } from './output-stream.ts';
import type { ModelRunner } from './runner.ts';
import { Scheduler } from './scheduler.ts';
import type { Sequence } from './sequence.ts';
import type { StepPlan } from './step-plan.ts';

export interface EngineParts {
  readonly runner: ModelRunner;
  readonly tokenBytes: TokenBytes;
  readonly maxStepTokens: number;
  /** Unix milliseconds, for deadlines. */
  readonly now: () => number;
}

export interface EngineOutputs {
  readonly deltas: readonly ChoiceDelta[];
  readonly ends: readonly RequestEnd[];
  readonly step: StepStats | null;
}

export class Engine {
  readonly #parts: EngineParts;
  readonly #scheduler: Scheduler;
  /** By sequence number, as plan rows name them. */
  readonly #streams = new Map<number, OutputStream>();
  readonly #launched: { readonly plan: StepPlan; readonly scheduleMs: number }[] = [];
  #deltas: ChoiceDelta[] = [];
  #ends: RequestEnd[] = [];

  constructor(parts: EngineParts) {
    this.#parts = parts;
    this.#scheduler = new Scheduler({ slots: parts.runner.info.slots, maxStepTokens: parts.maxStepTokens });
  }

  get busy(): boolean {
    return this.#scheduler.running.length + this.#scheduler.waiting.length + this.#launched.length > 0;
  }

  get load(): EngineLoad {
    const { running, waiting, freeSlots } = this.#scheduler;
    const total = (list: readonly Sequence[], of: (sequence: Sequence) => number) =>
      list.reduce((sum, sequence) => sum + of(sequence), 0);
    return {
      running: running.length,
      waiting: waiting.length,
      queuedPrefillTokens: total(running, (s) => s.prefillLeft) + total(waiting, (s) => s.prefillLeft),
      kvTokens: total(running, (s) => s.length),
      freeSlots,
    };
  }

  add(request: EngineRequest): void {
    const sequence = this.#scheduler.add(request);
    const rules = { ...request.params, eosIds: this.#parts.runner.info.eosIds };
    const detokenizer = new Detokenizer(this.#parts.tokenBytes);
    this.#streams.set(sequence.number, new OutputStream(request, rules, detokenizer));
  }

  /** Ends a request with an error output; unknown ids are ignored (it may just have ended). */
  abort(id: string, reason: { readonly code: ErrorCode; readonly message: string }): void {
    const sequence = this.#scheduler.find(id);
    if (sequence !== undefined) this.#fail(sequence, reason);
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
    return { ...this.takeOutputs(), step };
  }

  /** Outputs since the last call, for commands that ended requests between steps. */
  takeOutputs(): { readonly deltas: readonly ChoiceDelta[]; readonly ends: readonly RequestEnd[] } {
    const taken = { deltas: this.#deltas, ends: this.#ends };
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
      const plan = this.#scheduler.schedule();
      if (plan === null) return;
      for (const row of plan.rows) this.#streams.get(row.sequence)?.markScheduled();
      const scheduleMs = performance.now() - begin;
      this.#parts.runner.launch(plan);
      this.#launched.push({ plan, scheduleMs });
    }
  }

  #commitOldest(): StepStats | null {
    const oldest = this.#launched[0];
    if (oldest === undefined) return null;
    const { plan, scheduleMs } = oldest;
    const result = this.#parts.runner.collect();
    const begin = performance.now();
    this.#launched.shift();
    for (const { sequence, token } of this.#scheduler.commit(plan, result)) this.#emit(sequence, token);
    return {
      tokens: plan.tokens,
      rows: plan.rows.length,
      decodeRows: plan.rows.filter((row) => row.ids.length === 1).length,
      scheduleMs,
      runMs: result.runMs,
      sampleMs: result.sampleMs,
      commitMs: performance.now() - begin,
      preemptions: 0,
    };
  }

  #emit(sequence: Sequence, token: number): void {
    const stream = this.#streams.get(sequence.number);
    if (stream === undefined) return;
    const delta = stream.push(token);
    this.#deltas.push(delta);
    if (delta.finish === null) return;
    this.#end(sequence);
    this.#ends.push({ type: 'done', id: sequence.request.id, usage: stream.usage, timings: stream.timings() });
  }

  #end(sequence: Sequence): void {
    this.#streams.delete(sequence.number);
    this.#scheduler.finish(sequence);
  }

  #fail(sequence: Sequence, reason: { readonly code: ErrorCode; readonly message: string }): void {
    const { id, promptIds } = sequence.request;
    const empty = { promptTokens: promptIds.length, completionTokens: 0, cachedTokens: 0 };
    const usage = this.#streams.get(sequence.number)?.usage ?? empty;
    this.#end(sequence);
    this.#ends.push({ type: 'error', id, code: reason.code, message: reason.message, usage });
  }

  /** A failed step ends the requests that were in it, frees what they held, and leaves the others alone. */
  #failStep(thrown: unknown): void {
    this.#launched.length = 0;
    const error = toMillraceError(thrown);
    process.stderr.write(`${JSON.stringify({ event: 'step-failed', error: String(error.cause ?? error) })}\n`);
    for (const sequence of this.#scheduler.rollback()) {
      this.#fail(sequence, { code: 'model_error', message: 'The model failed while processing this request.' });
    }
  }

  #expire(): void {
    const now = this.#parts.now();
    for (const sequence of [...this.#scheduler.running, ...this.#scheduler.waiting]) {
      if (sequence.request.deadlineMs > now) continue;
      this.#fail(sequence, { code: 'deadline_exceeded', message: 'The request ran past its deadline.' });
    }
  }
}
