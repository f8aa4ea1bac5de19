/** A small durable record per stream, so that a new incarnation of the gateway can find and replay it. */
import { NOTHING_SAVED, type Savings } from './compression.ts';
import type { Kind } from './request.ts';

/** Kept this long after the start; the worker forgets sooner. Milliseconds. */
const RETAIN_MS = 15 * 60_000;

export interface StreamInfo {
  readonly id: string;
  readonly tenant: string;
  readonly worker: string;
  readonly epoch: string;
  readonly attempt: number;
  readonly kind: Kind;
  readonly model: string;
  readonly fingerprint: string;
  /** Unix seconds. */
  readonly created: number;
  readonly includeUsage: boolean;
  readonly saved: Savings;
  readonly choices: number;
  /** Generation goes on without a client. */
  readonly continues: boolean;
}

export class StreamStore {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    sql.exec('CREATE TABLE IF NOT EXISTS streams (id TEXT PRIMARY KEY, info TEXT NOT NULL, saved_at INTEGER NOT NULL)');
  }

  save(info: StreamInfo, nowMs: number): void {
    this.#sql.exec('INSERT OR REPLACE INTO streams VALUES (?, ?, ?)', info.id, JSON.stringify(info), nowMs);
  }

  /** Null for an unknown id and for another tenant's: the two look the same. */
  find(id: string, tenant: string): StreamInfo | null {
    const [row] = this.#sql.exec<{ info: string }>('SELECT info FROM streams WHERE id = ?', id).toArray();
    if (row === undefined) return null;
    // Earlier releases saved nothing and wrote nothing of it.
    const info = JSON.parse(row.info) as Omit<StreamInfo, 'saved'> & { readonly saved?: Savings };
    return info.tenant === tenant ? { ...info, saved: info.saved ?? NOTHING_SAVED } : null;
  }

  /** Returns how many are left. */
  prune(nowMs: number): number {
    this.#sql.exec('DELETE FROM streams WHERE saved_at < ?', nowMs - RETAIN_MS);
    return this.#sql.exec<{ left: number }>('SELECT count(*) AS left FROM streams').one().left;
  }
}
