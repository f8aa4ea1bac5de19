/** The one error table: code → HTTP status, OpenAI error type, whether a retry can help. Knows no transport. */

interface ErrorRow {
  /** HTTP status while no byte of the answer is out; after that the error travels inside the stream. */
  readonly status: number;
  /** OpenAI's `error.type`. */
  readonly type: string;
  /** A client may try the same request again and hope. */
  readonly retryable: boolean;
  /** Whose fault: the caller's input, or ours. Only `user` messages may quote input. */
  readonly blame: 'user' | 'system';
}

const row = (status: number, type: string, retryable: boolean, blame: 'user' | 'system'): ErrorRow => ({
  status,
  type,
  retryable,
  blame,
});

/** 429 = capacity exists but is contended; 503 = no capacity exists. */
export const ERRORS = {
  invalid_json: row(400, 'invalid_request_error', false, 'user'),
  invalid_value: row(400, 'invalid_request_error', false, 'user'),
  missing_required_parameter: row(400, 'invalid_request_error', false, 'user'),
  unsupported_parameter: row(400, 'invalid_request_error', false, 'user'),
  context_length_exceeded: row(400, 'invalid_request_error', false, 'user'),
  invalid_api_key: row(401, 'invalid_request_error', false, 'user'),
  permission_denied: row(403, 'invalid_request_error', false, 'user'),
  not_found: row(404, 'invalid_request_error', false, 'user'),
  model_not_found: row(404, 'invalid_request_error', false, 'user'),
  stream_not_found: row(404, 'invalid_request_error', false, 'user'),
  method_not_allowed: row(405, 'invalid_request_error', false, 'user'),
  request_timeout: row(408, 'invalid_request_error', true, 'user'),
  request_too_large: row(413, 'invalid_request_error', false, 'user'),
  unsupported_media_type: row(415, 'invalid_request_error', false, 'user'),
  slow_down: row(429, 'rate_limit_error', true, 'system'),
  request_cancelled: row(499, 'invalid_request_error', false, 'user'),
  slow_client: row(499, 'invalid_request_error', false, 'user'),
  server_error: row(500, 'server_error', true, 'system'),
  model_error: row(500, 'server_error', false, 'system'),
  worker_lost: row(503, 'server_error', true, 'system'),
  lease_expired: row(503, 'server_error', true, 'system'),
  no_worker: row(503, 'service_unavailable_error', true, 'system'),
  draining: row(503, 'service_unavailable_error', true, 'system'),
  deadline_exceeded: row(504, 'server_error', false, 'system'),
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof ERRORS;

export function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(ERRORS, code);
}

/** An error that has a code of the table. `message` is written for the client: it never holds internals. */
export class MillraceError extends Error {
  override readonly name = 'MillraceError';
  readonly code: ErrorCode;
  /** Request field at fault, in the caller's spelling, e.g. `messages[2].content`. */
  readonly param: string | undefined;
  /** Hint for `retry-after`, milliseconds. */
  readonly retryAfterMs: number | undefined;

  constructor(code: ErrorCode, message: string, extra: ErrorExtra = {}) {
    super(message, extra.cause === undefined ? undefined : { cause: extra.cause });
    this.code = code;
    this.param = extra.param;
    this.retryAfterMs = extra.retryAfterMs;
  }
}

export interface ErrorExtra {
  readonly param?: string | undefined;
  readonly retryAfterMs?: number | undefined;
  /** For logs only. */
  readonly cause?: unknown;
}

/** OpenAI's nested error body. Clients read `error.type`, `error.code` and `error.param`. */
export interface ErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string;
  };
}

export function errorBody(error: MillraceError): ErrorBody {
  return {
    error: { message: error.message, type: ERRORS[error.code].type, param: error.param ?? null, code: error.code },
  };
}

/** Anything thrown → a client-safe error; what is not ours becomes a bare `server_error` with the original as cause. */
export function toMillraceError(thrown: unknown): MillraceError {
  if (thrown instanceof MillraceError) return thrown;
  return new MillraceError('server_error', 'The server had an error while processing your request.', { cause: thrown });
}
