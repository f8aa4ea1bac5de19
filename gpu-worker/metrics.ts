/** Prometheus metrics of the worker, names and buckets after vLLM's with our prefix. Knows figures only. */
import { performance } from 'node:perf_hooks';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { ChoiceDelta, EngineLoad, RequestEnd, StepStats } from './engine/messages.ts';

const LATENCY_BUCKETS = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560,
];
const STEP_BUCKETS = [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10];
const TOKEN_BUCKETS = [1, 4, 16, 64, 256, 1024, 4096, 16_384, 65_536];

export class Metrics {
  readonly registry = new Registry();
  readonly #running = this.#gauge('num_requests_running', 'Sequences in the running batch');
  readonly #waiting = this.#gauge('num_requests_waiting', 'Sequences that wait to run');
  readonly #kvUsage = this.#gauge('kv_cache_usage_perc', 'KV cache held by live sequences, 1 = all');
  readonly #kvCached = this.#gauge('kv_cache_cached_tokens', 'KV tokens that only the prefix cache holds');
  readonly #kvPinned = this.#gauge('kv_cache_pinned_tokens', 'Those of them that are evicted last');
  readonly #prefixQueries = this.#counter('prefix_cache_queries_total', 'Prompt tokens looked up in the prefix cache');
  readonly #prefixHits = this.#counter('prefix_cache_hits_total', 'Prompt tokens found in the prefix cache');
  readonly #preemptions = this.#counter('num_preemptions_total', 'Sequences that lost their KV and computed it again');
  readonly #drafts = this.#counter('spec_decode_num_drafts_total', 'Rows that verified drafts');
  readonly #draftTokens = this.#counter('spec_decode_num_draft_tokens_total', 'Tokens drafted');
  readonly #acceptedTokens = this.#counter(
    'spec_decode_num_accepted_tokens_total',
    'Drafted tokens that became output',
  );
  readonly #promptTokens = this.#counter('prompt_tokens_total', 'Prompt tokens of ended requests');
  readonly #cachedTokens = this.#counter('prompt_tokens_cached_total', 'Those of them found in the prefix cache');
  readonly #generationTokens = this.#counter('generation_tokens_total', 'Output tokens of ended requests');
  readonly #success = this.#counter('request_success_total', 'Requests that ended well', ['finished_reason']);
  readonly #failed = this.#counter('request_failure_total', 'Requests that ended in an error', ['code']);
  readonly #rejected = this.#counter('admission_rejections_total', 'Requests refused at the door', ['code']);
  readonly #ttft = this.#histogram('time_to_first_token_seconds', 'Admission to first token', LATENCY_BUCKETS);
  readonly #e2e = this.#histogram('e2e_request_latency_seconds', 'Admission to last token', LATENCY_BUCKETS);
  readonly #itl = this.#histogram('inter_token_latency_seconds', 'Between outputs of a stream', LATENCY_BUCKETS);
  readonly #phases = {
    queueMs: this.#histogram('request_queue_time_seconds', 'Admission to first step', LATENCY_BUCKETS),
    prefillMs: this.#histogram('request_prefill_time_seconds', 'First step to first token', LATENCY_BUCKETS),
    decodeMs: this.#histogram('request_decode_time_seconds', 'First token to last', LATENCY_BUCKETS),
  };
  readonly #tpot = this.#histogram(
    'request_time_per_output_token_seconds',
    '(latency − TTFT) ÷ (tokens − 1)',
    LATENCY_BUCKETS,
  );
  readonly #requestPrompt = this.#histogram('request_prompt_tokens', 'Prompt tokens of a request', TOKEN_BUCKETS);
  readonly #requestOutput = this.#histogram('request_generation_tokens', 'Output tokens of a request', TOKEN_BUCKETS);
  readonly #step = new Histogram({
    ...{ name: 'millrace_step_seconds', help: 'Parts of a step', buckets: STEP_BUCKETS, labelNames: ['part'] },
    registers: [this.registry],
  });
  readonly #stepTokens = this.#histogram('iteration_tokens_total', 'Tokens in a step', TOKEN_BUCKETS);
  readonly #costError = this.#gauge('step_cost_median_error', 'Of the step-cost model’s last predictions, relative');
  readonly #cost = this.#gauge('step_cost_milliseconds', 'What the step-cost model has learnt', ['of']);

  /** By engine id and choice: when the last output came, on the monotonic clock. */
  readonly #lastOutput = new Map<string, Map<number, number>>();
  #seenQueries = 0;
  #seenHits = 0;

  load({ running, waiting, kv }: EngineLoad): void {
    this.#running.set(running);
    this.#waiting.set(waiting);
    this.#kvUsage.set(kv.capacity === 0 ? 0 : kv.live / kv.capacity);
    this.#kvCached.set(kv.cached);
    this.#kvPinned.set(kv.pinned);
    this.#prefixQueries.inc(kv.prefixQueries - this.#seenQueries);
    this.#prefixHits.inc(kv.prefixHits - this.#seenHits);
    [this.#seenQueries, this.#seenHits] = [kv.prefixQueries, kv.prefixHits];
  }

  step({ tokens, scheduleMs, runMs, sampleMs, commitMs, ...step }: StepStats): void {
    this.#stepTokens.observe(tokens);
    for (const [part, ms] of Object.entries({ schedule: scheduleMs, run: runMs, sample: sampleMs, commit: commitMs })) {
      this.#step.observe({ part }, ms / 1000);
    }
    this.#preemptions.inc(step.preemptions);
    this.#drafts.inc(step.drafts);
    this.#draftTokens.inc(step.draftedTokens);
    this.#acceptedTokens.inc(step.acceptedTokens);
    if (step.cost === null) return;
    this.#costError.set(step.cost.medianError);
    const { constantMs, drawMs, tokenMs, kvTokenMs } = step.cost.coefficients;
    const costs = { step: constantMs, draw: drawMs, token: tokenMs, kv_token: kvTokenMs };
    for (const [of, ms] of Object.entries(costs)) this.#cost.set({ of }, ms);
  }

  rejected(code: string): void {
    this.#rejected.inc({ code });
  }

  /** A live request put something out. */
  delta({ id, choice }: Pick<ChoiceDelta, 'id' | 'choice'>): void {
    const now = performance.now();
    const choices = this.#lastOutput.get(id) ?? new Map<number, number>();
    const last = choices.get(choice);
    if (last !== undefined) this.#itl.observe((now - last) / 1000);
    this.#lastOutput.set(id, choices.set(choice, now));
  }

  /** The request puts out nothing more. */
  forget(id: string): void {
    this.#lastOutput.delete(id);
  }

  ended(end: RequestEnd, finishReason: string): void {
    const { promptTokens, completionTokens, cachedTokens } = end.usage;
    this.#promptTokens.inc(promptTokens);
    this.#cachedTokens.inc(cachedTokens);
    this.#generationTokens.inc(completionTokens);
    if (end.type === 'error') return this.#failed.inc({ code: end.code });
    this.#success.inc({ finished_reason: finishReason });
    const { queueMs, prefillMs, decodeMs } = end.timings;
    this.#requestPrompt.observe(promptTokens);
    this.#requestOutput.observe(completionTokens);
    this.#phases.queueMs.observe(queueMs / 1000);
    this.#phases.prefillMs.observe(prefillMs / 1000);
    this.#phases.decodeMs.observe(decodeMs / 1000);
    this.#ttft.observe((queueMs + prefillMs) / 1000);
    this.#e2e.observe((queueMs + prefillMs + decodeMs) / 1000);
    if (completionTokens > 1) this.#tpot.observe(decodeMs / 1000 / (completionTokens - 1));
  }

  #gauge(name: string, help: string, labelNames: string[] = []): Gauge {
    return new Gauge({ name: `millrace_${name}`, help, labelNames, registers: [this.registry] });
  }

  #counter(name: string, help: string, labelNames: string[] = []): Counter {
    return new Counter({ name: `millrace_${name}`, help, labelNames, registers: [this.registry] });
  }

  #histogram(name: string, help: string, buckets: number[]): Histogram {
    return new Histogram({ name: `millrace_${name}`, help, buckets, registers: [this.registry] });
  }
}
