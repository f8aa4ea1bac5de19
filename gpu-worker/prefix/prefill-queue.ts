/** Prompt tokens that wait to be computed, without those that the cache will give, and the pace at which they go. */
import type { StepStats } from '../engine/messages.ts';

/** Share of the past that each step of prompts leaves in the pace. */
const PACE_MEMORY = 0.9;

export class PrefillQueue {
  /** By engine id. */
  readonly #waiting = new Map<string, number>();
  #tokens = 0;
  #paceTokens = 0;
  #paceMs = 0;

  get tokens(): number {
    return this.#tokens;
  }

  /** Null before there is a figure. */
  get tokensPerSecond(): number | null {
    return this.#paceMs > 0 ? (this.#paceTokens * 1000) / this.#paceMs : null;
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

  /** Long steps count for more: short ones say little of what a long prompt takes. */
  observe({ tokens, decodeRows, draftedTokens, ...ms }: StepStats): void {
    // Steps that mostly decode say nothing of prompts.
    if (decodeRows + draftedTokens > tokens / 2) return;
    this.#paceTokens = this.#paceTokens * PACE_MEMORY + tokens;
    this.#paceMs = this.#paceMs * PACE_MEMORY + ms.scheduleMs + ms.runMs + ms.sampleMs + ms.commitMs;
  }
}
