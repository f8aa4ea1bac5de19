/** The table of registered prompts. Knows no rules. */
import { randomBytes } from 'node:crypto';
import { literal, query, type Place } from '../d1/database.ts';

export interface PromptRow {
  readonly id: string;
  readonly tenant: string;
  readonly name: string;
  readonly text: string;
  readonly short: string;
  /** Unix milliseconds. */
  readonly createdAt: number;
}

const COLUMNS = 'id, tenant, name, text, short, created_at AS createdAt';

export class PromptTable {
  readonly #place: Place;

  constructor(place: Place) {
    this.#place = place;
  }

  /** All, or those of one tenant, by tenant and name. */
  async list(tenant: string | null): Promise<readonly PromptRow[]> {
    const where = tenant === null ? '' : `WHERE tenant = ${literal(tenant)} `;
    return this.#query(`SELECT ${COLUMNS} FROM static_prompts ${where}ORDER BY tenant, name`);
  }

  async find(id: string): Promise<PromptRow | null> {
    const [row] = await this.#query(`SELECT ${COLUMNS} FROM static_prompts WHERE id = ${literal(id)}`);
    return row ?? null;
  }

  async add(prompt: Omit<PromptRow, 'id' | 'createdAt'>): Promise<PromptRow> {
    const row: PromptRow = { ...prompt, id: `pr_${randomBytes(8).toString('hex')}`, createdAt: Date.now() };
    const texts = [row.id, row.tenant, row.name, row.text, row.short].map(literal);
    const columns = 'id, tenant, name, text, short, created_at';
    await this.#query(`INSERT INTO static_prompts (${columns}) VALUES (${texts.join(', ')}, ${row.createdAt})`);
    return row;
  }

  async remove(id: string): Promise<void> {
    await this.#query(`DELETE FROM static_prompts WHERE id = ${literal(id)}`);
  }

  #query(sql: string): Promise<readonly PromptRow[]> {
    return query(this.#place, sql);
  }
}
