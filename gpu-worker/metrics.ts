/** Prometheus metrics of the worker, names and buckets after vLLM's with our prefix. Knows figures only. */
import { performance } from 'node:perf_hooks';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { EngineLoad, RequestEnd, StepStats } from './engine/messages.ts';

const LATENCY_BUCKETS = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
];
const STEP_BUCKETS = [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10];

export class Metrics {
  readonly registry = new Registry();
  readonly #running = this.#gauge('num_requests_running', 'Sequences in the running batch');
  readonly #waiting = this.#gauge('num_requests_waiting', 'Requests waiting for a slot');
  readonly #kvUsage = this.#gauge('kv_cache_usage_perc', 'KV slots in use, 1 = all');
  readonly #promptTokens = this.#counter('prompt_tokens_total', 'Prompt tokens of ended requests');
  readonly #generationTokens = this.#counter('generation_tokens_total', 'Output tokens of ended requests');
  readonly #success = this.#counter('request_success_total', 'Requests that ended well', ['finished_reason']);
  readonly #failed = this.#counter('request_failure_total', 'Requests that ended in an error', ['code']);
  readonly #rejected = this.#counter('admission_rejections_total', 'Requests refused at the door', ['code']);
  readonly #ttft = this.#histogram('time_to_first_token_seconds', 'Admission to first token', LATENCY_BUCKETS);
  readonly #e2e = this.#histogram('e2e_request_latency_seconds', 'Admission to last token', LATENCY_BUCKETS);
  readonly #itl = this.#histogram('inter_token_latency_seconds', 'Between outputs of a stream', LATENCY_BUCKETS);
  readonly #tpot = this.#histogram(
    'request_time_per_output_token_seconds',
    '(latency − TTFT) ÷ (tokens − 1)',
    LATENCY_BUCKETS,
  );
  readonly #step = this.#histogram('step_seconds', 'Parts of a step', STEP_BUCKETS, ['part']);
  readonly #stepTokens = this.#histogram('iteration_tokens_total', 'Tokens in a step', [1, 4, 16, 64, 256, 1024, 4096]);

  /** By engine id: when the last output came, on the monotonic clock. */
  readonly #lastOutput = new Map<string, number>();

  load({ running, waiting, freeSlots }: EngineLoad): void {
    this.#running.set(running);
    this.#waiting.set(waiting);
    this.#kvUsage.set(running + freeSlots === 0 ? 0 : running / (running + freeSlots));
  }

  step({ tokens, scheduleMs, runMs, sampleMs, commitMs }: StepStats): void {
    this.#stepTokens.observe(tokens);
    for (const [part, ms] of Object.entries({ schedule: scheduleMs, run: runMs, sample: sampleMs, commit: commitMs })) {
      this.#step.observe({ part }, ms / 1000);
    }
  }

  rejected(code: string): void {
    this.#rejected.inc({ code });
  }

  /** A live request put something out. */
  delta(id: string): void {
    const now = performance.now();
    const last = this.#lastOutput.get(id);
    if (last !== undefined) this.#itl.observe((now - last) / 1000);
    this.#lastOutput.set(id, now);
  }

  /** The request puts out nothing more. */
  forget(id: string): void {
    this.#lastOutput.delete(id);
  }

  ended(end: RequestEnd, finishReason: string): void {
    this.#promptTokens.inc(end.usage.promptTokens);
    this.#generationTokens.inc(end.usage.completionTokens);
    if (end.type === 'error') return this.#failed.inc({ code: end.code });
    this.#success.inc({ finished_reason: finishReason });
    const { queueMs, prefillMs, decodeMs } = end.timings;
    this.#ttft.observe((queueMs + prefillMs) / 1000);
    this.#e2e.observe((queueMs + prefillMs + decodeMs) / 1000);
    if (end.usage.completionTokens > 1) this.#tpot.observe(decodeMs / 1000 / (end.usage.completionTokens - 1));
  }

  #gauge(name: string, help: string): Gauge {
    return new Gauge({ name: `millrace_${name}`, help, registers: [this.registry] });
  }

  #counter(name: string, help: string, labelNames: string[] = []): Counter {
    return new Counter({ name: `millrace_${name}`, help, labelNames, registers: [this.registry] });
  }

  #histogram(name: string, help: string, buckets: number[], labelNames: string[] = []): Histogram {
    return new Histogram({ name: `millrace_${name}`, help, buckets, labelNames, registers: [this.registry] });
  }
}
