/** Figures of a run for its last words: counts, rates, medians. Pure. */
import type { LLMResult } from '../llm.ts';

/** Buckets of 1 %: 0.01 ms to a few weeks in a bounded number of them. */
const BUCKET = Math.log(1.01);
const LEAST_MS = 0.01;

/** The median of any number of durations, to 1 %. */
export class Median {
  readonly #buckets = new Map<number, number>();
  #count = 0;

  add(ms: number): void {
    const bucket = Math.round(Math.log(Math.max(ms, LEAST_MS) / LEAST_MS) / BUCKET);
    this.#buckets.set(bucket, (this.#buckets.get(bucket) ?? 0) + 1);
    this.#count++;
  }

  /** Milliseconds; null without any. */
  get value(): number | null {
    let left = this.#count / 2;
    for (const [bucket, count] of [...this.#buckets].toSorted(([a], [b]) => a - b)) {
      left -= count;
      if (left <= 0) return LEAST_MS * Math.exp(bucket * BUCKET);
    }
    return null;
  }
}

export class Tally {
  done = 0;
  failed = 0;
  readonly #tokens = { prompt: 0, cached: 0, output: 0, drafted: 0, accepted: 0 };
  readonly #ttftMs = new Median();
  readonly #itlMs = new Median();

  add(result: LLMResult): void {
    if (result.type === 'error') {
      this.failed++;
      return;
    }
    this.done++;
    const { usage, timings, outputs } = result;
    this.#tokens.prompt += usage.promptTokens;
    this.#tokens.cached += usage.cachedTokens;
    this.#tokens.output += usage.completionTokens;
    this.#tokens.drafted += usage.draftedTokens;
    this.#tokens.accepted += usage.acceptedTokens;
    this.#ttftMs.add(timings.queueMs + timings.prefillMs);
    // Choices decode side by side, so each has its share of the tokens in the same time.
    const gaps = usage.completionTokens / outputs.length - 1;
    if (gaps > 0) this.#itlMs.add(timings.decodeMs / gaps);
  }

  summary(elapsedMs: number): string {
    const perSecond = (count: number) => `${shown((count * 1000) / Math.max(1, elapsedMs))}/s`;
    const { prompt, cached, output, drafted, accepted } = this.#tokens;
    const failed = this.failed === 0 ? '' : `, ${shown(this.failed)} failed`;
    const rows = [
      ['requests', `${shown(this.done)} in ${(elapsedMs / 1000).toFixed(1)} s (${perSecond(this.done)})${failed}`],
      ['output tokens', `${shown(output)} (${perSecond(output)})`],
      ['prompt tokens', `${shown(prompt)} (${perSecond(prompt)})`],
      ['prefix hits', `${shown(cached)} prompt tokens (${percent(cached, prompt)})`],
      ['drafts accepted', `${shown(accepted)} of ${shown(drafted)} (${percent(accepted, drafted)})`],
      ['TTFT median', milliseconds(this.#ttftMs.value)],
      ['ITL median', milliseconds(this.#itlMs.value)],
    ];
    return rows.map(([name = '', value]) => `  ${name.padEnd(16)} ${value}`).join('\n');
  }
}

function shown(value: number): string {
  return value.toLocaleString('en-GB', { maximumFractionDigits: value < 10 ? 1 : 0 });
}

function percent(part: number, whole: number): string {
  return whole === 0 ? '–' : `${((100 * part) / whole).toFixed(0)} %`;
}

function milliseconds(value: number | null): string {
  return value === null ? '–' : `${value < 10 ? value.toFixed(2) : value.toFixed(0)} ms`;
}
