/** Pure policy: may a request enter the worker now? Knows figures, no queues. */
import { MillraceError } from '../shared/errors.ts';

/**
 * KV needs no bound of its own: a running sequence owns a slot of `maxModelLen` positions, one that waits owns none.
 */
export interface AdmissionLimits {
  /** Sequences that run at once. */
  readonly slots: number;
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

/** Requests the worker may have at once. */
export function capacity({ slots, maxWaiting }: AdmissionLimits): number {
  return slots + maxWaiting;
}

/** Before the prompt is looked at: throws `draining` or `slow_down`. */
export function checkCapacity(limits: AdmissionLimits, load: AdmissionLoad): void {
  if (load.draining) throw drainingError();
  if (load.live >= capacity(limits)) throw crowdedError(limits, load);
}

export function drainingError(): MillraceError {
  return new MillraceError('draining', 'The worker is shutting down.', { retryAfterMs: 1000 });
}

export function crowdedError(limits: AdmissionLimits, load: AdmissionLoad): MillraceError {
  const message = `The worker is at its limit of ${capacity(limits)} requests.`;
  return new MillraceError('slow_down', message, { retryAfterMs: retryAfter(load) });
}

/** Before a long prompt is tokenized: throws when even `fewestTokens`, a lower bound from its bytes, are too many. */
export function checkLength(
  { maxModelLen }: AdmissionLimits,
  { fewestTokens, param }: { readonly fewestTokens: number; readonly param: string },
): void {
  if (fewestTokens < maxModelLen) return;
  throw tooLong(maxModelLen, `but \`${param}\` has at least ${fewestTokens}. Shorten it.`, param);
}

/** With the tokens counted: throws `context_length_exceeded` or `slow_down`; returns the output limit. */
export function checkTokens(
  limits: AdmissionLimits,
  load: AdmissionLoad,
  request: { readonly promptTokens: number; readonly maxTokens: number | null; readonly param: string },
): number {
  const { promptTokens, maxTokens, param } = request;
  const room = limits.maxModelLen - promptTokens;
  if (room < 1) throw tooLong(limits.maxModelLen, `but \`${param}\` has ${promptTokens}. Shorten it.`, param);
  if (maxTokens !== null && maxTokens > room) {
    const sum = `${promptTokens + maxTokens} (${promptTokens} in \`${param}\`, ${maxTokens} in \`max_tokens\`)`;
    throw tooLong(limits.maxModelLen, `but ${sum} were asked for. Reduce either.`, param);
  }
  // An idle worker takes any prompt that fits the context, however long.
  if (load.queuedPrefillTokens > 0 && load.queuedPrefillTokens + promptTokens > limits.maxQueuedPrefillTokens) {
    const message = 'Too many prompt tokens are waiting at the worker.';
    throw new MillraceError('slow_down', message, { retryAfterMs: retryAfter(load) });
  }
  return maxTokens ?? room;
}

function tooLong(maxModelLen: number, rest: string, param: string): MillraceError {
  const message = `This model's maximum context length is ${maxModelLen} tokens, ${rest}`;
  return new MillraceError('context_length_exceeded', message, { param });
}

/** Time to work off the queued prompts at the recent pace, between 1 and 30 s. */
function retryAfter({ queuedPrefillTokens, tokensPerSecond }: AdmissionLoad): number {
  const milliseconds = tokensPerSecond === null ? 1000 : (queuedPrefillTokens / tokensPerSecond) * 1000;
  return Math.round(Math.min(30_000, Math.max(1000, milliseconds)));
}
