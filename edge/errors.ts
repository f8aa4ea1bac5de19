/** Errors → HTTP responses in OpenAI's shape. The only place where codes become statuses. */
import { errorBody, ERRORS, type MillraceError } from '../shared/errors.ts';

const MAX_RETRY_AFTER_S = 30;

export function errorResponse(error: MillraceError): Response {
  const { status, retryable } = ERRORS[error.code];
  const headers = new Headers({ 'content-type': 'application/json' });
  if (status === 429 || status >= 500) {
    // SDKs retry these unless told not to.
    headers.set('x-should-retry', String(retryable));
    if (retryable) headers.set('retry-after', String(retryAfterSeconds(error)));
  }
  return new Response(JSON.stringify(errorBody(error)), { status, headers });
}

/** Jittered, so that clients refused together do not return together. */
function retryAfterSeconds({ retryAfterMs }: MillraceError): number {
  const seconds = ((retryAfterMs ?? 1000) / 1000) * (1 + Math.random() * 0.5);
  return Math.min(MAX_RETRY_AFTER_S, Math.max(1, Math.ceil(seconds)));
}
