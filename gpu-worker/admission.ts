/** Pure policy: may a request enter the worker now? Knows figures, no queues. */
import { MillraceError } from '../shared/errors.ts';

export interface AdmissionLimits {
  readonly maxNumSeqs: number;
  /** Requests that may wait for a slot. */
  readonly maxWaiting: number;
  /** Prompt tokens that may be admitted and not computed. */
  readonly maxQueuedPrefillTokens: number;
  readonly maxModelLen: number;
}

export interface AdmissionLoad {
  /** Requests admitted and not ended. */
  readonly live: number;
  readonly queuedPrefillTokens: number;
  /** Tokens the engine computed per second lately; null before there is a figure. */
  readonly tokensPerSecond: number | null;
  readonly draining: boolean;
}

/** Before the prompt is tokenized: throws `draining` or `slow_down`. */
export function checkCapacity(limits: AdmissionLimits, load: AdmissionLoad): void {
  if (load.draining) throw new MillraceError('draining', 'The worker is shutting down.', { retryAfterMs: 1000 });
  if (load.live < limits.maxNumSeqs + limits.maxWaiting) return;
  const message = `The worker is at its limit of ${limits.maxNumSeqs + limits.maxWaiting} requests.`;
  throw new MillraceError('slow_down', message, { retryAfterMs: retryAfter(load) });
}

/** With the tokens counted: throws `context_length_exceeded` or `slow_down`; returns the output limit. */
export function checkTokens(
  limits: AdmissionLimits,
  load: AdmissionLoad,
  request: { readonly promptTokens: number; readonly maxTokens: number | null; readonly param: string },
): number {
  const { promptTokens, maxTokens, param } = request;
  const room = limits.maxModelLen - promptTokens;
  const refuse = (message: string, field: string) =>
    new MillraceError('context_length_exceeded', message, { param: field });
  if (room < 1) {
    const has = `This model's maximum context length is ${limits.maxModelLen} tokens`;
    throw refuse(`${has}, but \`${param}\` has ${promptTokens}. Shorten it.`, param);
  }
  if (maxTokens !== null && maxTokens > room) {
    const sum = `${promptTokens} in \`${param}\` + ${maxTokens} in \`max_tokens\``;
    throw refuse(
      `This model's maximum context length is ${limits.maxModelLen} tokens, but ${sum} were asked for.`,
      param,
    );
  }
  // An idle worker takes any prompt that fits the context, however long.
  if (load.queuedPrefillTokens > 0 && load.queuedPrefillTokens + promptTokens > limits.maxQueuedPrefillTokens) {
    const message = 'Too many prompt tokens are waiting at the worker.';
    throw new MillraceError('slow_down', message, { retryAfterMs: retryAfter(load) });
  }
  return maxTokens ?? room;
}

/** Time to work off the queued prompts at the recent pace, between 1 and 30 s. */
function retryAfter({ queuedPrefillTokens, tokensPerSecond }: AdmissionLoad): number {
  const milliseconds = tokensPerSecond === null ? 1000 : (queuedPrefillTokens / tokensPerSecond) * 1000;
  return Math.round(Math.min(30_000, Math.max(1000, milliseconds)));
}
