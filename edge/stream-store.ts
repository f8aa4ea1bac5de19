/** A small durable record per stream, so that a new incarnation of the gateway can find and replay it. */
import { NOTHING_SAVED, type Savings } from './compression.ts';
import type { Kind } from './request.ts';

/** Kept this long after the latest end; the worker forgets sooner. Milliseconds. */
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
  /** Its client asked to stop: the abort that a replay ends with is a normal end. */
  readonly stopped: boolean;
}

type Written = Omit<StreamInfo, 'saved' | 'stopped'> & Partial<Pick<StreamInfo, 'saved' | 'stopped'>>;

/** The condition of an index: looked up often, among the streams of a quarter of an hour. */
const CONTINUES = "json_extract(info, '$.continues') = 1 AND json_extract(info, '$.ended') IS NULL";

export class StreamStore {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    sql.exec('CREATE TABLE IF NOT EXISTS streams (id TEXT PRIMARY KEY, info TEXT NOT NULL, saved_at INTEGER NOT NULL)');
    sql.exec(`CREATE INDEX IF NOT EXISTS continuing ON streams (saved_at) WHERE ${CONTINUES}`);
  }

  /** `deadlineMs`: it ends by then; its column had the start in earlier releases. */
  save(info: StreamInfo, deadlineMs: number): void {
    this.#sql.exec('INSERT OR REPLACE INTO streams VALUES (?, ?, ?)', info.id, JSON.stringify(info), deadlineMs);
  }

  markStopped(info: StreamInfo): void {
    const stopped: StreamInfo = { ...info, stopped: true };
    this.#sql.exec('UPDATE streams SET info = ? WHERE id = ?', JSON.stringify(stopped), info.id);
  }

  /** Null for an unknown id and for another tenant's: the two look the same. */
  find(id: string, tenant: string): StreamInfo | null {
    const [row] = this.#sql.exec<{ info: string }>('SELECT info FROM streams WHERE id = ?', id).toArray();
    if (row === undefined) return null;
    const info = parse(row.info);
    return info.tenant === tenant ? info : null;
  }

  /** Nobody has to look after it any more; it may be read again. */
  markEnded(info: StreamInfo): void {
    this.#sql.exec("UPDATE streams SET info = json_set(info, '$.ended', 1) WHERE id = ?", info.id);
  }

  /** Streams that may still run without a client. */
  continuing(nowMs: number): readonly StreamInfo[] {
    const query = `SELECT info FROM streams INDEXED BY continuing WHERE ${CONTINUES} AND saved_at > ?`;
    const running = this.#sql.exec<{ info: string }>(query, nowMs).toArray();
    return running.map(({ info }) => parse(info)).filter(({ stopped }) => !stopped);
  }

  /** Returns how many are left. */
  prune(nowMs: number): number {
    this.#sql.exec('DELETE FROM streams WHERE saved_at < ?', nowMs - RETAIN_MS);
    return this.#sql.exec<{ left: number }>('SELECT count(*) AS left FROM streams').one().left;
  }
}

/** Earlier releases wrote neither what was saved nor whether it was stopped. */
function parse(info: string): StreamInfo {
  return { saved: NOTHING_SAVED, stopped: false, ...(JSON.parse(info) as Written) };
}
