/** Registered system prompts: where they are found in messages, and what is sent in their place. Pure but for the reader. */
import { describe, expect, it } from 'vitest';
import { findStaticPrompt, startingPrompt, type PromptDatabase, type StaticPrompt } from '../../edge/static-prompts.ts';
import type { ChatMessage } from '../../shared/protocol.ts';

const prompt = (id: string, text: string): StaticPrompt => ({ id, text, short: `<${id}>` });
const SHOP = prompt('shop', 'You work for the shop.');
const LONG = prompt('long', 'You work for the shop. Be brief.');
const system = (content: string): ChatMessage => ({ role: 'system', content });
const HI: ChatMessage = { role: 'user', content: 'hi' };

describe('a system message', () => {
  it.each([
    ['You work for the shop.', '<shop>'],
    ['You work for the shop.\nToday is Monday.  ', '<shop>\nToday is Monday.  '],
    ['You work for the shop. Be kind.', '<shop> Be kind.'],
    ['You work for the shop. Be brief. Now.', '<long> Now.'],
  ])('%j becomes %j', (content, sent) => {
    const found = startingPrompt([system(content), HI], [SHOP, LONG]);
    expect(found?.messages).toEqual([system(sent), HI]);
  });

  it.each(['You work for the shop.com', 'you work for the shop.', ' You work for the shop.', ''])(
    '%j is another text',
    (content) => {
      expect(startingPrompt([system(content), HI], [SHOP, LONG])).toBeNull();
    },
  );

  it('counts at the begin alone, and by its role', () => {
    const { text: content } = SHOP;
    expect(startingPrompt([HI, system(content)], [SHOP])).toBeNull();
    expect(startingPrompt([{ role: 'user', content }], [SHOP])).toBeNull();
  });
});

/** Its rows are those of tenants `t…`; counts its reads. */
class Rows implements PromptDatabase {
  reads = 0;
  isDown = false;
  readonly #rows: readonly StaticPrompt[];

  constructor(rows: readonly StaticPrompt[]) {
    this.#rows = rows;
  }

  prepare() {
    return { bind: (tenant: string) => ({ all: async <T>() => ({ results: this.#read(tenant) as unknown as T[] }) }) };
  }

  #read(tenant: string): readonly StaticPrompt[] {
    this.reads++;
    if (this.isDown) throw new Error('down');
    return tenant.startsWith('t') ? this.#rows : [];
  }
}

describe('by id', () => {
  it.each([
    [[HI], [system('<shop>'), HI]],
    [
      [system('Be kind.'), HI],
      [system('<shop>\n\nBe kind.'), HI],
    ],
    [
      [system(`${SHOP.text} Be kind.`), HI],
      [system('<shop> Be kind.'), HI],
    ],
  ])('%j becomes %j', async (messages, sent) => {
    const database = new Rows([LONG, SHOP]);
    expect((await findStaticPrompt(database, 't0', { messages, id: 'shop' }))?.messages).toEqual(sent);
  });

  it('an id that the tenant has not is refused by name, also when another tenant has it', async () => {
    const database = new Rows([SHOP]);
    for (const [tenant, id] of [
      ['t0', 'other'],
      ['u0', 'shop'],
    ] as const) {
      const find = () => findStaticPrompt(database, tenant, { messages: [HI], id });
      await expect(find()).rejects.toMatchObject({ code: 'not_found', param: 'prompt.id' });
    }
  });
});

describe('the database', () => {
  it('is read once for many requests, and not for those that cannot begin with a prompt', async () => {
    const database = new Rows([SHOP]);
    for (let i = 0; i < 5; i++) await findStaticPrompt(database, 't1', { messages: [system(SHOP.text), HI], id: null });
    expect(database.reads).toBe(1);
    expect(await findStaticPrompt(database, 't2', { messages: [HI], id: null })).toBeNull();
    expect(database.reads).toBe(1);
  });

  it('when it is down texts go as they are, and ids are refused as our fault', async () => {
    const database = new Rows([SHOP]);
    database.isDown = true;
    const messages = [system(SHOP.text), HI];
    expect(await findStaticPrompt(database, 't3', { messages, id: null })).toBeNull();
    await expect(findStaticPrompt(database, 't3', { messages, id: 'shop' })).rejects.toMatchObject({
      code: 'server_error',
    });
  });
});
