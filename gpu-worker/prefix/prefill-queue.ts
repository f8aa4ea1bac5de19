/** Prompt tokens that wait to be computed, without those that the cache will give, and the pace at which they go. */
import type { StepStats } from '../engine/messages.ts';

/** Share of the past that each step of prompts leaves in the pace. */
const PACE_MEMORY = 0.9;
/** Whole prompts of fewer tokens take as long as empty steps: they say nothing of a long prompt. */
const LEAST_TOKENS = 64;
/** An old pace is none: a worker that seemed slow is tried again. Milliseconds. */
const PACE_TTL_MS = 30_000;

export class PrefillQueue {
  /** By engine id. */
  readonly #waiting = new Map<string, number>();
  #tokens = 0;
  #paceTokens = 0;
  #paceMs = 0;
  #paceAtMs = Number.NEGATIVE_INFINITY;

  get tokens(): number {
    return this.#tokens;
  }

  /** Prompt tokens per second while there are any, beside whatever decodes. Null while there is no recent figure. */
  tokensPerSecond(nowMs: number): number | null {
    return nowMs - this.#paceAtMs < PACE_TTL_MS ? (this.#paceTokens * 1000) / Math.max(0.01, this.#paceMs) : null;
  }

  add(id: string, tokens: number): void {
    this.remove(id);
    this.#waiting.set(id, tokens);
    this.#tokens += tokens;
  }

  /** It has output, or ended; unknown ids are ignored. */
  remove(id: string): void {
    this.#tokens -= this.#waiting.get(id) ?? 0;
    this.#waiting.delete(id);
  }

  observe({ prefillTokens, promptsLeft, ...ms }: StepStats, nowMs: number): void {
    if (prefillTokens < LEAST_TOKENS && !promptsLeft) return;
    this.#paceTokens = this.#paceTokens * PACE_MEMORY + prefillTokens;
    this.#paceMs = this.#paceMs * PACE_MEMORY + ms.scheduleMs + ms.runMs + ms.sampleMs + ms.commitMs;
    this.#paceAtMs = nowMs;
  }
}
