/** Pure policy: may a request enter the worker now? Knows figures, no queues. */
import { MillraceError } from '../shared/errors.ts';
import { admitsTtft } from './engine/modes.ts';

export interface AdmissionLimits {
  /** Sequences that run at once. */
  readonly maxNumSeqs: number;
  /** Sequences that may wait. */
  readonly maxWaiting: number;
  /** Tokens of the KV cache: no request may need more, all its choices together. */
  readonly kvTokens: number;
  /** A prompt whose first token would come later is refused, milliseconds; null = never for that. */
  readonly ttftMs: number | null;
  /** Prompt tokens that may be admitted and not computed. */
  readonly maxQueuedPrefillTokens: number;
  readonly maxModelLen: number;
}

export interface AdmissionLoad {
  /** Sequences admitted and not ended: one for each choice. */
  readonly live: number;
  /** Prompt tokens admitted and not computed, without those that the prefix cache will give. */
  readonly queuedPrefillTokens: number;
  /** Prompt tokens computed per second lately; null before there is a figure. */
  readonly prefillTokensPerSecond: number | null;
  readonly draining: boolean;
}

/** Sequences the worker may have at once. */
export function capacity({ maxNumSeqs, maxWaiting }: AdmissionLimits): number {
  return maxNumSeqs + maxWaiting;
}

/** Before the prompt is looked at, for a request of `n` choices: throws `draining` or `slow_down`, or `invalid_value` for ever. */
export function checkCapacity(limits: AdmissionLimits, load: AdmissionLoad, n: number): void {
  if (load.draining) throw drainingError();
  if (n > capacity(limits)) {
    const message = `\`n\` is ${n}, but the worker has room for ${capacity(limits)} sequences.`;
    throw new MillraceError('invalid_value', message, { param: 'n' });
  }
  if (load.live + n > capacity(limits)) throw crowdedError(limits, load);
}

export function drainingError(): MillraceError {
  return new MillraceError('draining', 'The worker is shutting down.', { retryAfterMs: 1000 });
}

export function crowdedError(limits: AdmissionLimits, load: AdmissionLoad): MillraceError {
  const message = `The worker is at its limit of ${capacity(limits)} sequences.`;
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

export interface TokenRequest {
  readonly promptTokens: number;
  /** Null: as many as fit. */
  readonly maxTokens: number | null;
  /** Choices. */
  readonly n: number;
  /** The prompt's field, for messages. */
  readonly param: string;
}

/** With the tokens counted: throws `context_length_exceeded` or `slow_down`; returns the output limit of each choice. */
export function checkTokens(limits: AdmissionLimits, load: AdmissionLoad, request: TokenRequest): number {
  const { promptTokens, maxTokens, n, param } = request;
  const room = limits.maxModelLen - promptTokens;
  if (room < 1) throw tooLong(limits.maxModelLen, `but \`${param}\` has ${promptTokens}. Shorten it.`, param);
  if (maxTokens !== null && maxTokens > room) {
    const sum = `${promptTokens + maxTokens} (${promptTokens} in \`${param}\`, ${maxTokens} in \`max_tokens\`)`;
    throw tooLong(limits.maxModelLen, `but ${sum} were asked for. Reduce either.`, param);
  }
  const kvRoom = Math.floor(limits.kvTokens / n) - promptTokens;
  if (kvRoom < (maxTokens ?? 1)) throw tooMuchKv(limits, request);
  checkQueue(limits, load, promptTokens);
  return maxTokens ?? Math.min(room, kvRoom);
}

function checkQueue(limits: AdmissionLimits, load: AdmissionLoad, promptTokens: number): void {
  const { queuedPrefillTokens, prefillTokensPerSecond } = load;
  // An idle worker takes any prompt that fits the context, however long.
  if (queuedPrefillTokens > 0 && queuedPrefillTokens + promptTokens > limits.maxQueuedPrefillTokens) {
    const message = 'Too many prompt tokens are waiting at the worker.';
    throw new MillraceError('slow_down', message, { retryAfterMs: retryAfter(load) });
  }
  const verdict = admitsTtft({ queuedPrefillTokens, promptTokens, prefillTokensPerSecond }, limits.ttftMs);
  if (verdict.admitted) return;
  const message = 'The first token would come later than this server promises.';
  throw new MillraceError('slow_down', message, { retryAfterMs: verdict.retryAfterMs });
}

function tooMuchKv({ kvTokens }: AdmissionLimits, { promptTokens, maxTokens, n }: TokenRequest): MillraceError {
  const each = `${promptTokens} prompt and ${maxTokens ?? 'some'} output tokens`;
  const message = `${n} choices of ${each} do not fit the worker's KV cache of ${kvTokens} tokens. Reduce \`n\` or \`max_tokens\`.`;
  return new MillraceError('context_length_exceeded', message, { param: n > 1 ? 'n' : 'max_tokens' });
}

function tooLong(maxModelLen: number, rest: string, param: string): MillraceError {
  const message = `This model's maximum context length is ${maxModelLen} tokens, ${rest}`;
  return new MillraceError('context_length_exceeded', message, { param });
}

/** Time to work off the queued prompts at the recent pace, between 1 and 30 s. */
function retryAfter({ queuedPrefillTokens, prefillTokensPerSecond: pace }: AdmissionLoad): number {
  const milliseconds = pace === null ? 1000 : (queuedPrefillTokens / pace) * 1000;
  return Math.round(Math.min(30_000, Math.max(1000, milliseconds)));
}
