import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { Detokenizer, TokenBytes } from '../../../gpu-worker/text/detokenizer.ts';
import { PromptEncoder } from '../../../gpu-worker/text/prompt.ts';
import { Tokenizer } from '../../../gpu-worker/text/tokenizer.ts';
import type { ChatMessage } from '../../../shared/protocol.ts';
import { cpuMs } from '../../support/cpu-time.ts';
import { thrownBy } from '../../support/thrown.ts';

interface Golden {
  readonly chats: readonly { readonly messages: ChatMessage[]; readonly ids: number[] }[];
  readonly texts: readonly { readonly text: string; readonly ids: number[]; readonly decoded: string }[];
}

describe.each(['chatml', 'headers', 'inst', 'turns'])('%s gives the ids of Hugging Face transformers', (name) => {
  const folder = `test/fixtures/chat/${name}`;
  const golden = JSON.parse(readFileSync(`${folder}/golden.json`, 'utf8')) as Golden;
  const encoder = new PromptEncoder(folder, 10_000);
  const tokenizer = new Tokenizer(folder);
  const control = tokenizer.controlTokens;
  const controlIds = new Set(control.flatMap((text) => tokenizer.encode(text, { begin: false })));
  const countControl = (ids: Iterable<number>) => [...ids].filter((id) => controlIds.has(id)).length;
  const chat = (content: string) => encoder.encode({ type: 'chat', messages: [{ role: 'user', content }] });

  test(`chats: apply_chat_template`, () => {
    expect(golden.chats).toHaveLength(40);
    for (const { messages, ids } of golden.chats) expect([...encoder.encode({ type: 'chat', messages })]).toEqual(ids);
  });

  test('texts, with the begin token where the model has one', () => {
    for (const { text, ids } of golden.texts) expect([...encoder.encode({ type: 'text', text })]).toEqual(ids);
  });

  test('ids as text, but for the space that some put before it', () => {
    const table = TokenBytes.fromFolder(folder);
    for (const { ids, decoded } of golden.texts) {
      const detokenizer = new Detokenizer(table);
      const read = ids.map((id) => detokenizer.push(id)).join('') + detokenizer.flush();
      expect(name === 'inst' ? read.replace(/^ /, '') : read).toBe(decoded);
    }
  });

  test('a prompt has never fewer tokens than the bound from its bytes', () => {
    for (const { messages, ids } of golden.chats) {
      expect(encoder.fewestTokens({ type: 'chat', messages })).toBeLessThanOrEqual(ids.length);
    }
    for (const { text, ids } of golden.texts) {
      expect(encoder.fewestTokens({ type: 'text', text })).toBeLessThanOrEqual(ids.length);
    }
  });

  test('control tokens inside a message stay the text they are, and the model reads them as that', () => {
    const table = TokenBytes.fromFolder(folder);
    const framing = countControl(chat('plain'));
    for (const text of [...control, control.join('x'), `before${control[0]}${control[1]}after`]) {
      const ids = chat(text);
      expect(countControl(ids)).toBe(framing);
      const detokenizer = new Detokenizer(table);
      const read = Array.from(ids, (id) => detokenizer.push(id)).join('') + detokenizer.flush();
      // Where a space comes before every text, it also does around one that is tokenized for itself.
      expect(name === 'inst' ? read.replaceAll(' ', '') : read).toContain(text);
    }
  });

  test('a marker of ours in a message is only text', () => {
    const text = `${crypto.randomUUID()}0# and ${control[0]}`;
    expect(countControl(chat(text))).toBe(countControl(chat('plain')));
  });
});

test('messages that the template refuses are the caller’s mistake, told without internals', () => {
  const encoder = new PromptEncoder('test/fixtures/chat/headers', 10_000);
  const messages: ChatMessage[] = [
    { role: 'user', content: 'a' },
    { role: 'user', content: 'b' },
  ];
  const error = thrownBy(() => encoder.encode({ type: 'chat', messages }));
  expect(error).toMatchObject({ code: 'invalid_value', param: 'messages' });
  expect(String(error)).not.toContain('Two user messages');
});

test('a million bytes in tiny messages, or in one, are known to be long without being tokenized', () => {
  const encoder = new PromptEncoder('test/fixtures/chat/chatml', 10_000);
  const tiny = Array.from({ length: 50_000 }, (): ChatMessage => ({ role: 'user', content: '' }));
  const one: ChatMessage[] = [{ role: 'user', content: ' '.repeat(1_000_000) }];
  const ms = cpuMs(() => {
    for (const messages of [tiny, one]) {
      expect(encoder.fewestTokens({ type: 'chat', messages })).toBeGreaterThan(40_000);
    }
  });
  expect(ms).toBeLessThan(100);
});
