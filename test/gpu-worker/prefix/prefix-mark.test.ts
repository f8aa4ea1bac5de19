import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { marksOf, tokensUpTo, type PrefixMark } from '../../../gpu-worker/prefix/prefix-mark.ts';
import { TokenBytes } from '../../../gpu-worker/text/detokenizer.ts';
import { PromptEncoder } from '../../../gpu-worker/text/prompt.ts';
import { blocksOf } from '../../../shared/block-hash.ts';
import type { ChatMessage, Prompt } from '../../../shared/protocol.ts';
import { BYTE_TOKENS } from '../../support/engine-world.ts';

const FOLDER = 'models/millrace-mini';
const encoder = new PromptEncoder(FOLDER, 1_000_000);
const tokenBytes = TokenBytes.fromFolder(FOLDER);
const chat = (...messages: ChatMessage[]): Prompt => ({ type: 'chat', messages });
const user = (content: string): ChatMessage => ({ role: 'user', content });
const assistant = (content: string): ChatMessage => ({ role: 'assistant', content });

const prose = JSON.parse(
  `[${readFileSync('infra/model/heldout.jsonl', 'utf8').trim().split('\n').slice(0, 60).join(',')}]`,
) as unknown[];
const long = JSON.stringify(prose).slice(0, 9000);

function marked(prompt: Prompt): { readonly marks: readonly PrefixMark[]; readonly ids: Int32Array } {
  const ids = encoder.encode(prompt);
  return { marks: marksOf(prompt, blocksOf(prompt, 's'), { promptIds: ids, tokenBytes }), ids };
}

const bytesOf = (ids: Int32Array) => Buffer.concat(Array.from(ids, (id) => tokenBytes.of(id)));

describe('a mark’s tokens are the text up to its block’s end', () => {
  test.each<[string, Prompt]>([
    ['a text', { type: 'text', text: long }],
    ['a conversation', chat(user(long.slice(0, 3000)), assistant(long.slice(3000, 4000)), user(long.slice(4000)))],
    ['the same text twice', chat(user(long.slice(0, 1500)), user(long.slice(0, 1500)))],
    ['space around', chat(user(`\n  ${long.slice(0, 2000)}  \n`), user(`${long.slice(2000, 3000)}`))],
    ['characters of several bytes', chat(user('Größe naïve \u{1f600}日本語 '.repeat(150)), user(long))],
    ['control tokens as text', chat(user(`<|im_end|><|im_start|>system ${long}`), user(long))],
  ])('%s', (_, prompt) => {
    const blocks = blocksOf(prompt, 's');
    const { marks, ids } = marked(prompt);
    expect(marks).toHaveLength(blocks.length);
    const rendered = bytesOf(ids);
    const texts = prompt.type === 'chat' ? prompt.messages.map(({ content }) => content) : [long];
    let from = 0;
    const starts = texts.map((text) => {
      const at = rendered.indexOf(text, from);
      from = at + Buffer.byteLength(text);
      return at;
    });
    for (const [i, { hash, tokens }] of marks.entries()) {
      const { message = 0, end = 0 } = blocks[i] ?? {};
      expect(hash).toBe(blocks[i]?.hash);
      const at = (starts[message] ?? 0) + Buffer.byteLength(texts[message]?.slice(0, end) ?? '');
      // Whole tokens: the block's end lies in the next one at the latest.
      expect(bytesOf(ids.subarray(0, tokens)).length).toBeLessThanOrEqual(at);
      expect(bytesOf(ids.subarray(0, tokens + 1)).length).toBeGreaterThanOrEqual(at);
    }
  });
});

test('a registered prompt at the beginning: its whole tokens, whatever follows it', () => {
  const registered = long.slice(0, 1500);
  const pinnedOf = (content: string, units = registered.length) => {
    const prompt = chat({ role: 'system', content }, user(long.slice(3000)));
    const promptIds = encoder.encode(prompt);
    return { tokens: tokensUpTo(prompt, units, { promptIds, tokenBytes }), promptIds };
  };
  const { tokens, promptIds } = pinnedOf(registered);
  expect(bytesOf(promptIds.subarray(0, tokens)).toString().endsWith(registered)).toBe(true);
  const longer = pinnedOf(`${registered}\n\nToday is Monday.`);
  expect([longer.tokens, longer.promptIds.slice(0, tokens)]).toEqual([tokens, promptIds.slice(0, tokens)]);
  // Fewer than are worth a route, none, and more than the message has.
  for (const units of [20, 0, 1501]) expect(pinnedOf(registered, units).tokens).toBe(0);
});

test('a conversation that grows keeps its marks, up to the tokens around a cut', () => {
  const begin = [user(long.slice(0, 2500)), assistant(long.slice(2500, 3200))];
  const before = marked(chat(...begin)).marks;
  const after = marked(chat(...begin, user(long.slice(3200)))).marks;
  expect(before.length).toBeGreaterThan(2);
  for (const [i, { hash, tokens }] of before.entries()) {
    expect(after[i]?.hash).toBe(hash);
    expect(Math.abs((after[i]?.tokens ?? 0) - tokens)).toBeLessThanOrEqual(2);
  }
});

test('token prompts are marked to the token', () => {
  const ids = Array.from({ length: 700 }, (_, i) => i % 200);
  expect(marked({ type: 'tokens', ids }).marks.map(({ tokens }) => tokens)).toEqual([128, 256, 384, 512, 640, 700]);
});

describe('what has no place is left out', () => {
  const bytes = (text: string) => ({ promptIds: Int32Array.from(Buffer.from(text)), tokenBytes: BYTE_TOKENS });
  const tokens = (marks: readonly PrefixMark[]) => marks.map((mark) => mark.tokens);
  const [a, b] = ['a'.repeat(400), 'b'.repeat(400)];

  test('a message that the template rewrote; those after it are found', () => {
    const prompt = chat(user(a), user(b));
    expect(tokens(marksOf(prompt, blocksOf(prompt, 's'), bytes(`[${'A'.repeat(400)}][${b}]`)))).toEqual([803]);
    expect(tokens(marksOf(prompt, blocksOf(prompt, 's'), bytes(`[${a}][${b}]`)))).toEqual([401, 803]);
    expect(marksOf(prompt, blocksOf(prompt, 's'), bytes('nothing of it'))).toEqual([]);
  });

  test('a message that the template trimmed is found', () => {
    const prompt = chat(user(` \n${a}\n `), user(b));
    expect(tokens(marksOf(prompt, blocksOf(prompt, 's'), bytes(`[${a}][${b}]`)))).toEqual([401, 803]);
  });

  test('ends that lie', () => {
    const prompt = chat(user(a));
    const block = (message: number, end: number) => ({ hash: '0'.repeat(16), message, end });
    const blocks = [block(0, 4), block(0, 300), block(0, 200), block(0, 401), block(3, 1), block(0, 400)];
    // Too short; in place; behind the one before; beyond the text; no such message; out of order.
    expect(tokens(marksOf(prompt, blocks, bytes(`[${a}]`)))).toEqual([301]);
    expect(marksOf({ type: 'tokens', ids: [1, 2] }, [block(0, 50)], bytes('ab'))).toEqual([]);
  });
});
