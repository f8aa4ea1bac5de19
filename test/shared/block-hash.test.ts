import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { blocksOf, MAX_BLOCKS, promptSize, type PromptBlock } from '../../shared/block-hash.ts';
import { blockEndSchema, type ChatMessage, type Prompt } from '../../shared/protocol.ts';
import { cpuMs } from '../support/cpu-time.ts';
import * as v from 'valibot';

const text = (content: string): Prompt => ({ type: 'text', text: content });
const chat = (...messages: ChatMessage[]): Prompt => ({ type: 'chat', messages });
const tokens = (ids: number[]): Prompt => ({ type: 'tokens', ids });
const user = (content: string): ChatMessage => ({ role: 'user', content });
const hashes = (blocks: readonly PromptBlock[]) => blocks.map(({ hash }) => hash);

/** Leading blocks in common. */
function common(a: readonly PromptBlock[], b: readonly PromptBlock[]): number {
  let count = 0;
  while (count < a.length && a[count]?.hash === b[count]?.hash) count++;
  return count;
}

const messages = fc.array(
  fc.record({
    role: fc.constantFrom('system' as const, 'user' as const, 'assistant' as const),
    content: fc.oneof(
      fc.string({ unit: 'binary', maxLength: 3000 }),
      fc.integer({ min: 0, max: 5000 }).map((length) => 'ab\u{1f600}c'.repeat(length / 5)),
    ),
  }),
  { minLength: 1, maxLength: 12 },
);

describe('cuts', () => {
  test('about every 1 KiB of a text, and at its end; what is short has none', () => {
    expect(blocksOf(text('x'.repeat(2500)), 's').map(({ end }) => end)).toEqual([1024, 2048, 2500]);
    expect(blocksOf(text('x'.repeat(2100)), 's').map(({ end }) => end)).toEqual([1024, 2048]);
    expect(blocksOf(text('x'.repeat(255)), 's')).toEqual([]);
    expect(blocksOf(text(''), 's')).toEqual([]);
  });

  test('at the end of every message that is not short, with its index and the size of all before', () => {
    const blocks = blocksOf(chat(user('a'.repeat(300)), user('b'), user('c'.repeat(1300))), 's');
    expect(blocks.map(({ message, end, size }) => [message, end, size])).toEqual([
      [0, 300, 300],
      [2, 1023, 1324],
      [2, 1300, 1601],
    ]);
    for (const block of blocks) expect(v.is(blockEndSchema, block)).toBe(true);
  });

  test('of token prompts every 128 ids', () => {
    const ids = Array.from({ length: 600 }, (_, i) => i);
    expect(blocksOf(tokens(ids), 's').map(({ end }) => end)).toEqual([128, 256, 384, 512, 600]);
  });

  test('never inside a character', () => {
    for (let shift = 0; shift < 2; shift++) {
      const content = 'x'.repeat(shift) + '\u{1f600}'.repeat(3000);
      for (const { end } of blocksOf(text(content), 's')) expect(content.slice(0, end).isWellFormed()).toBe(true);
    }
  });

  test('blocks grow, so that the largest prompts need no more than fit a message', () => {
    const blocks = blocksOf(text('x'.repeat(1_000_000)), 's');
    expect(blocks.length).toBeLessThanOrEqual(MAX_BLOCKS);
    expect(blocks.at(-1)?.end).toBe(1_000_000);
    expect(blocksOf(chat(...Array.from({ length: 5000 }, () => user('y'.repeat(500)))), 's')).toHaveLength(MAX_BLOCKS);
  });
});

describe('a common prefix is common blocks', () => {
  test('a conversation that grows keeps all its blocks', () => {
    fc.assert(
      fc.property(messages, messages, (begin, more) => {
        const before = blocksOf(chat(...begin), 's');
        const after = blocksOf(chat(...begin, ...more), 's');
        expect(after.slice(0, before.length)).toEqual(before);
        expect(before.at(-1)?.size ?? 0).toBeLessThanOrEqual(promptSize(chat(...begin)));
      }),
    );
  });

  test('a text and token ids that grow keep all blocks but the last', () => {
    const ids = fc.array(fc.nat(150_000), { maxLength: 2000 });
    const string = fc.integer({ min: 0, max: 9000 }).map((length) => 'héllo wörld '.repeat(length / 12));
    fc.assert(
      fc.property(string, string, (a, b) => {
        const before = blocksOf(text(a), 's');
        expect(common(before, blocksOf(text(a + b), 's'))).toBeGreaterThanOrEqual(before.length - 1);
      }),
    );
    fc.assert(
      fc.property(ids, ids, (a, b) => {
        const before = blocksOf(tokens(a), 's');
        expect(common(before, blocksOf(tokens([...a, ...b]), 's'))).toBeGreaterThanOrEqual(before.length - 1);
      }),
    );
  });

  test('what differs anywhere differs from there on', () => {
    const content = 'lorem ipsum '.repeat(1000);
    fc.assert(
      fc.property(fc.nat(content.length - 1), fc.nat(0xffff), (at, unit) => {
        const other = content.slice(0, at) + String.fromCharCode(unit) + content.slice(at + 1);
        if (other === content) return;
        const [a, b] = [blocksOf(text(content), 's'), blocksOf(text(other), 's')];
        const same = a.findIndex(({ end }) => end > at);
        expect(common(a, b)).toBeLessThanOrEqual(same);
        expect(new Set([...hashes(a).slice(same), ...hashes(b).slice(same)]).size).toBe(a.length + b.length - 2 * same);
      }),
    );
  });
});

describe('nothing in common', () => {
  const long = 'x'.repeat(4000);
  test.each([
    ['another salt', blocksOf(text(long), 't1'), blocksOf(text(long), 't2')],
    ['another kind of prompt', blocksOf(text(long), 's'), blocksOf(chat(user(long)), 's')],
    ['another role', blocksOf(chat({ role: 'system', content: long }), 's'), blocksOf(chat(user(long)), 's')],
    ['another name', blocksOf(chat({ ...user(long), name: 'n' }), 's'), blocksOf(chat(user(long)), 's')],
    [
      'text moved from one message to the next',
      blocksOf(chat(user('ab'), user(long)), 's'),
      blocksOf(chat(user('a'), user(`b${long}`)), 's'),
    ],
  ])('%s', (_, a, b) => {
    expect(a.length).toBeGreaterThan(0);
    expect(hashes(a).filter((hash) => hashes(b).includes(hash))).toEqual([]);
  });

  test('100,000 prefixes of a counter have 100,000 hashes', () => {
    const seen = new Set<string>();
    for (let i = 0; i < 100_000; i++) {
      for (const hash of hashes(blocksOf(tokens([...Array<number>(64).fill(7), i]), 's'))) seen.add(hash);
    }
    expect(seen.size).toBe(100_000);
  });
});

test('hashing is no cost beside the rest: a megabyte in milliseconds', () => {
  const content = JSON.parse(JSON.stringify('All work and no play. '.repeat(50_000))) as string;
  let best = Infinity;
  for (let i = 0; i < 10; i++) {
    best = Math.min(
      best,
      cpuMs(() => blocksOf(text(content), 's')),
    );
  }
  // 5.5 ms on a fast processor.
  expect(best).toBeLessThan(80);
});
