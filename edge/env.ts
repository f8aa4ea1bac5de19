/** The Worker's bindings and the numbers read from them. The only reader of the environment at the edge. */

import { routingNamed, type Routing } from './prefix/router.ts';

export interface Env {
  readonly DB: D1Database;
  readonly GATEWAY: DurableObjectNamespace;
  readonly NATS_WS_URL: string;
  readonly NATS_USER: string;
  readonly NATS_PASSWORD: string;
  /** Key of the HMAC over key secrets. */
  readonly KEY_PEPPER: string;
  readonly GATEWAY_SHARDS?: string;
  readonly MAX_BODY_BYTES?: string;
  readonly REQUEST_TIMEOUT_MS?: string;
  /** A worker that takes longer to answer a submit is too busy: the next one is asked. */
  readonly SUBMIT_TIMEOUT_MS?: string;
  /** Comma-separated origins for CORS; `*` = any (keys travel in a header, never in a cookie). */
  readonly ALLOWED_ORIGINS?: string;
  /** How workers are chosen, one of ROUTINGS; `prefix` without. */
  readonly ROUTING?: string;
}

export interface Limits {
  readonly shards: number;
  readonly maxBodyBytes: number;
  readonly requestTimeoutMs: number;
  readonly submitTimeoutMs: number;
  readonly allowedOrigins: readonly string[];
}

export function limitsOf(env: Env): Limits {
  return {
    shards: positive('GATEWAY_SHARDS', env.GATEWAY_SHARDS, 1),
    maxBodyBytes: positive('MAX_BODY_BYTES', env.MAX_BODY_BYTES, 1024 * 1024),
    requestTimeoutMs: positive('REQUEST_TIMEOUT_MS', env.REQUEST_TIMEOUT_MS, 600_000),
    submitTimeoutMs: positive('SUBMIT_TIMEOUT_MS', env.SUBMIT_TIMEOUT_MS, 2_000),
    allowedOrigins: (env.ALLOWED_ORIGINS ?? '').split(',').map((origin) => origin.trim()),
  };
}

export function routingOf({ ROUTING = 'prefix' }: Env): Routing {
  return routingNamed(ROUTING);
}

function positive(name: string, text: string | undefined, fallback: number): number {
  const value = text === undefined ? fallback : Number(text);
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new Error(`${name} must be a positive integer, not "${text}"`);
}
