/** Bearer key → tenant. Knows the table of keys, no routes. */
import { MillraceError } from '../shared/errors.ts';
import { SUBJECT_TOKEN } from '../shared/subjects.ts';
import type { CompressionOptions } from './compress/compress.ts';
import { DEFAULT_RATE, LOSSLESS } from './compression.ts';
import type { Env } from './env.ts';
import { hashSecret, parseKey } from './key.ts';

export interface Principal {
  readonly tenant: string;
  readonly keyId: string;
  /** Names this key may use; null = all. */
  readonly models: readonly string[] | null;
  /** Of its requests that ask for none. */
  readonly compression: CompressionOptions;
}

interface KeyRow {
  readonly tenant: string;
  readonly secret_hash: string;
  readonly second_secret_hash: string | null;
  readonly models: string | null;
  readonly compression_mode: CompressionOptions['mode'] | null;
  readonly compression_rate: number | null;
  readonly expires_at: number | null;
  readonly disabled: number;
}

const CACHE_MS = 30_000;
const CACHE_SIZE = 1000;
/** By public id and hash: the id alone would let a forged secret hit. Pure data, so isolates may share it over requests. */
const cache = new Map<string, { readonly principal: Principal; readonly until: number }>();

/** Throws `invalid_api_key`, the same for whatever is wrong with the key; `server_error` for a row that cannot be right. */
export async function authenticate(header: string | null, env: Env): Promise<Principal> {
  const [, text] = /^Bearer\s+(\S+)$/i.exec(header ?? '') ?? [];
  if (text === undefined) {
    throw new MillraceError('invalid_api_key', 'Missing API key: send `Authorization: Bearer <key>`.');
  }
  const parsed = parseKey(text);
  const hash = await hashSecret(parsed?.secret ?? text, env.KEY_PEPPER);
  const cacheKey = `${parsed?.publicId}:${hash}`;
  const known = cache.get(cacheKey);
  if (known !== undefined && known.until > Date.now()) return known.principal;
  const row = await findRow(env, parsed?.publicId ?? '');
  // An unknown id costs the same comparison.
  const hashes = [row?.secret_hash ?? '', row?.second_secret_hash ?? ''];
  const matches = hashes.map((stored) => equal(stored, hash)).includes(true);
  const alive = row !== null && row.disabled === 0 && (row.expires_at === null || row.expires_at > Date.now());
  if (parsed === null || row === null || !matches || !alive) {
    throw new MillraceError('invalid_api_key', 'Incorrect API key provided.');
  }
  if (!SUBJECT_TOKEN.test(row.tenant)) {
    const cause = new Error(
      `tenant ${JSON.stringify(row.tenant)} of key ${parsed.publicId} must match ${SUBJECT_TOKEN}`,
    );
    throw new MillraceError('server_error', 'This API key is not set up well: ask who gave it to you.', { cause });
  }
  const models = row.models === null ? null : (JSON.parse(row.models) as string[]);
  const principal = { tenant: row.tenant, keyId: parsed.publicId, models, compression: compressionOf(row) };
  remember(cacheKey, principal);
  return principal;
}

export function checkModel(principal: Principal, model: string): void {
  if (principal.models === null || principal.models.includes(model)) return;
  throw new MillraceError('permission_denied', `This key may not use the model \`${model.slice(0, 100)}\`.`, {
    param: 'model',
  });
}

async function findRow(env: Env, publicId: string): Promise<KeyRow | null> {
  const columns =
    'tenant, secret_hash, second_secret_hash, models, compression_mode, compression_rate, expires_at, disabled';
  return env.DB.prepare(`SELECT ${columns} FROM api_keys WHERE public_id = ?`).bind(publicId).first<KeyRow>();
}

function compressionOf({ compression_mode: mode, compression_rate: rate }: KeyRow): CompressionOptions {
  if (mode === null) return LOSSLESS;
  return { mode, rate: mode === 'lossy' ? (rate ?? DEFAULT_RATE) : 1 };
}

function equal(stored: string, hash: string): boolean {
  const encoder = new TextEncoder();
  // timingSafeEqual throws on unequal lengths.
  return crypto.subtle.timingSafeEqual(encoder.encode(stored.padEnd(64).slice(0, 64)), encoder.encode(hash));
}

function remember(key: string, principal: Principal): void {
  const [oldest] = cache.keys();
  if (cache.size >= CACHE_SIZE && oldest !== undefined) cache.delete(oldest);
  cache.set(key, { principal, until: Date.now() + CACHE_MS });
}
