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

/** A row of one blame; `retryable` unless said otherwise is false. */
const rowOf =
  (blame: ErrorRow['blame']) =>
  (status: number, type: string, retryable = false): ErrorRow => {
    return { status, type, retryable, blame };
  };
const user = rowOf('user');
const system = rowOf('system');

/** 429 = capacity exists but is contended; 503 = no capacity exists. */
export const ERRORS = {
  invalid_json: user(400, 'invalid_request_error'),
  invalid_value: user(400, 'invalid_request_error'),
  missing_required_parameter: user(400, 'invalid_request_error'),
  unsupported_parameter: user(400, 'invalid_request_error'),
  context_length_exceeded: user(400, 'invalid_request_error'),
  invalid_api_key: user(401, 'invalid_request_error'),
  permission_denied: user(403, 'invalid_request_error'),
  not_found: user(404, 'invalid_request_error'),
  model_not_found: user(404, 'invalid_request_error'),
  stream_not_found: user(404, 'invalid_request_error'),
  method_not_allowed: user(405, 'invalid_request_error'),
  request_timeout: user(408, 'invalid_request_error', true),
  request_too_large: user(413, 'invalid_request_error'),
  unsupported_media_type: user(415, 'invalid_request_error'),
  slow_down: system(429, 'rate_limit_error', true),
  request_cancelled: user(499, 'invalid_request_error'),
  slow_client: user(499, 'invalid_request_error'),
  server_error: system(500, 'server_error', true),
  model_error: system(500, 'server_error'),
  worker_lost: system(503, 'server_error', true),
  lease_expired: system(503, 'server_error', true),
  no_worker: system(503, 'service_unavailable_error', true),
  draining: system(503, 'service_unavailable_error', true),
  deadline_exceeded: system(504, 'server_error'),
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

/** No worker of the fleet serves it, or this key may not see it. */
export function modelNotFound(model: string): MillraceError {
  const message = `The model \`${model.slice(0, 100)}\` does not exist; GET /v1/models lists those that do.`;
  return new MillraceError('model_not_found', message, { param: 'model' });
}
