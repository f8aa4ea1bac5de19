/** The table of API keys. Makes no secret. */
import type { CompressionOptions } from '../../edge/compress/compress.ts';
import { literal, query, type Place } from '../d1/database.ts';

/** What a key lets its holder do; null = what applies without it. */
export interface Grant {
  readonly tenant: string;
  readonly models: readonly string[] | null;
  readonly compression: CompressionOptions['mode'] | null;
  /** Of the lossy mode. */
  readonly rate: number | null;
  /** Unix milliseconds. */
  readonly expiresAt: number | null;
}

/** As it may be shown: no hash. */
export interface KeyRow extends Omit<Grant, 'models'> {
  readonly publicId: string;
  /** JSON. */
  readonly models: string | null;
  readonly createdAt: number;
  readonly disabled: number;
}

const COLUMNS =
  'public_id AS publicId, tenant, models, compression_mode AS compression, compression_rate AS rate, ' +
  'created_at AS createdAt, expires_at AS expiresAt, disabled';

export class KeyTable {
  readonly #place: Place;

  constructor(place: Place) {
    this.#place = place;
  }

  /** All, or those of one tenant, the oldest first. */
  list(tenant: string | null): Promise<readonly KeyRow[]> {
    const where = tenant === null ? '' : `WHERE tenant = ${literal(tenant)} `;
    return query(this.#place, `SELECT ${COLUMNS} FROM api_keys ${where}ORDER BY tenant, created_at, public_id`);
  }

  async find(publicId: string): Promise<KeyRow | null> {
    const [row] = await query<KeyRow>(
      this.#place,
      `SELECT ${COLUMNS} FROM api_keys WHERE public_id = ${literal(publicId)}`,
    );
    return row ?? null;
  }

  async add(publicId: string, secretHash: string, grant: Grant): Promise<KeyRow> {
    const { tenant, models, compression, rate, expiresAt } = grant;
    const row = {
      ...{ public_id: literal(publicId), tenant: literal(tenant), secret_hash: literal(secretHash) },
      models: models === null ? 'NULL' : literal(JSON.stringify(models)),
      compression_mode: compression === null ? 'NULL' : literal(compression),
      compression_rate: rate ?? 'NULL',
      expires_at: expiresAt ?? 'NULL',
      created_at: Date.now(),
    };
    const [names, values] = [Object.keys(row).join(', '), Object.values(row).join(', ')];
    const sql = `INSERT INTO api_keys (${names}) VALUES (${values}) RETURNING ${COLUMNS}`;
    const [added] = await query<KeyRow>(this.#place, sql);
    if (added === undefined) throw new Error(`The database gave no row for the key ${publicId}.`);
    return added;
  }

  async disable(publicId: string): Promise<void> {
    await query(this.#place, `UPDATE api_keys SET disabled = 1 WHERE public_id = ${literal(publicId)}`);
  }
}
