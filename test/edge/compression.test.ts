/** Compression of whole prompts: chats, texts, token ids; and what is said to be saved. Pure. */
import { describe, expect, it } from 'vitest';
import { compressPrompt, NOTHING_SAVED, promptBytes, savingsOf } from '../../edge/compression.ts';
import type { Prompt } from '../../shared/protocol.ts';

const LOSSLESS = { mode: 'lossless', rate: 1 } as const;
const LOSSY = { mode: 'lossy', rate: 0.5 } as const;
const text = (value: string): Prompt => ({ type: 'text', text: value });
const line = 'The mill stands by the river in the valley, and its wheel turns in every season. '.repeat(4).trim();

describe('texts', () => {
  it('are shortened up to their last line, which stays with all that follows it', () => {
    const prompt = text(`Notes:   \n\n\n\n${line}\n\n${line}\n\nQ: Who founded the mill?\nA:  \t`);
    expect(compressPrompt(prompt, LOSSLESS)).toEqual(
      text(
        `Notes:\n\n${line}\n\n[same text as above: the line "The mill stands by the river in the … l turns in every season."]\n\n` +
          'Q: Who founded the mill?\nA:  \t',
      ),
    );
  });

  it.each([
    'a\n\n\n',
    ' \n \n ',
    'x = [ 1,\n',
    'a \u{a0} ',
    `${line}\n${line}`,
    `Document 1: ${line}\n\nDocument 1: ${line}`,
  ])('%j ends as it did', (value) => {
    for (const options of [LOSSLESS, LOSSY]) {
      const out = compressPrompt(text(value), options);
      const lastLine = value.slice(value.trimEnd().lastIndexOf('\n') + 1);
      expect(out.type === 'text' && out.text.endsWith(lastLine)).toBe(true);
    }
  });

  it('a text that grows by what a model adds keeps what stood before', () => {
    const first = `Notes:   \n\n\n${line}\n\n${line}\n\nQ: Who?\nA:`;
    const [one, two] = [first, `${first} The miller.\nQ: When?\nA:`].map((value) =>
      compressPrompt(text(value), LOSSLESS),
    );
    expect(one?.type === 'text' && two?.type === 'text' && two.text.startsWith(one.text)).toBe(true);
  });
});

it('token ids, and all prompts in mode off, stay the same object', () => {
  const ids: Prompt = { type: 'tokens', ids: [1, 2] };
  for (const options of [LOSSLESS, LOSSY]) expect(compressPrompt(ids, options)).toBe(ids);
  const blanks = text('a   \n\n\n\nb');
  expect(compressPrompt(blanks, { mode: 'off', rate: 1 })).toBe(blanks);
});

it('savings: bytes as counted, tokens by those of the prompt that was sent, never more than one in two bytes', () => {
  const sent = text('ä'.repeat(500));
  expect(promptBytes(sent)).toBe(1000);
  expect(savingsOf(400, sent, 250)).toEqual({ bytes: 400, tokensEstimate: 100 });
  expect(savingsOf(400, text('hi'), 21)).toEqual({ bytes: 400, tokensEstimate: 200 });
  expect(savingsOf(0, sent, 250)).toEqual(NOTHING_SAVED);
});
