/** What compression does to prompts, and how long it takes. Prints nothing. */
import { performance } from 'node:perf_hooks';
import { compressMessages, type CompressionOptions } from '../../../edge/compress/compress.ts';
import { protectedSpans } from '../../../edge/compress/protect.ts';
import type { ChatMessage } from '../../../shared/protocol.ts';
import { expand } from '../../edge/compress/expand.ts';
import { percentile } from '../rounds.ts';
import type { Prompt } from './prompts.ts';

export interface Setting {
  readonly name: string;
  readonly options: CompressionOptions;
}

/** Of several prompts, in one setting. Sums; tokens of contents, without the chat template. */
export interface Effect {
  readonly tokens: number;
  readonly savedTokens: number;
  readonly estimatedTokens: number;
  readonly spans: number;
  readonly keptSpans: number;
  readonly facts: number;
  readonly keptFacts: number;
}

export function effectOn(
  prompts: readonly Prompt[],
  { options }: Setting,
  countTokens: (text: string) => number,
): Effect {
  const sums = { tokens: 0, savedTokens: 0, estimatedTokens: 0, spans: 0, keptSpans: 0, facts: 0, keptFacts: 0 };
  for (const { messages, facts } of prompts) {
    const compression = compressMessages(messages, options);
    for (const [i, { content }] of messages.entries()) {
      const tokens = countTokens(content);
      const compressed = compression.messages[i]?.content ?? '';
      sums.tokens += tokens;
      sums.savedTokens += compressed === content ? 0 : tokens - countTokens(compressed);
    }
    sums.estimatedTokens += compression.savedTokensEstimate;
    for (const [i, text] of expand(compression.messages, messages).entries()) {
      const { found, all } = spansFound(messages[i]?.content ?? '', text);
      sums.spans += all;
      sums.keptSpans += found;
    }
    const whole = compression.messages.map(({ content }) => content).join('\n');
    sums.facts += facts.length;
    sums.keptFacts += facts.filter(({ answer }) => whole.includes(answer)).length;
  }
  return sums;
}

/** Verbatim and in order. */
function spansFound(original: string, compressed: string): { readonly found: number; readonly all: number } {
  const spans = protectedSpans(original);
  let [at, found] = [0, 0];
  for (const { start, end } of spans) {
    const next = compressed.indexOf(original.slice(start, end), at);
    if (next < 0) continue;
    found++;
    at = next + end - start;
  }
  return { found, all: spans.length };
}

export interface Pace {
  /** UTF-8 bytes of the conversation. */
  readonly bytes: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

const WARM_UP_RUNS = 50;

/** Wall time of one call on a conversation joined from prompts until it has `bytes`. */
export function paceOf(prompts: readonly Prompt[], { options }: Setting, size: { bytes: number; runs: number }): Pace {
  const messages: ChatMessage[] = [];
  let bytes = 0;
  for (let i = 0; bytes < size.bytes; i++) {
    const content = (prompts[i % prompts.length]?.messages ?? []).map((each) => each.content).join('\n\n');
    bytes += Buffer.byteLength(content);
    messages.push({ role: 'user', content });
  }
  const times: number[] = [];
  for (let run = -WARM_UP_RUNS; run < size.runs; run++) {
    const begin = performance.now();
    compressMessages(messages, options);
    if (run >= 0) times.push(performance.now() - begin);
  }
  return { bytes, p50Ms: percentile(times, 0.5), p99Ms: percentile(times, 0.99) };
}
