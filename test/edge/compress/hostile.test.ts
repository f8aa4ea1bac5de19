/** Texts made to be slow or wrong. Bounds are wide: a quadratic scan would take minutes at these sizes. */
import { describe, expect, test } from 'vitest';
import { compressMessages, type CompressionOptions } from '../../../edge/compress/compress.ts';
import type { ChatMessage } from '../../../shared/protocol.ts';
import { cpuMs } from '../../support/cpu-time.ts';

const BYTES = 1_000_000;
const MAX_MS = 6_000;
const MODES: readonly CompressionOptions[] = [
  { mode: 'lossless', rate: 1 },
  { mode: 'lossy', rate: 0.5 },
];
const filled = (part: string) => part.repeat(Math.ceil(BYTES / part.length));
const TEXTS: Readonly<Record<string, string>> = {
  'one line of sentences': filled('The mill stands by the river in the valley. '),
  'one word': filled('a'),
  'line feeds': filled('\n'),
  blanks: filled(' '),
  'blanks before each feed': filled(`${' '.repeat(50)}\n`),
  'open brackets': filled('['),
  'open brackets on lines': filled('[\n'),
  'strings never closed': filled('["a\n'),
  'objects never closed': filled('{"a":\n'),
  'open quotes': filled('“'),
  'straight quotes': filled('"a '),
  'single quotes': filled(" 'a"),
  'backticks of many lengths': Array.from({ length: 1400 }, (_, i) => '`'.repeat(i + 1)).join(' '),
  'fences never closed': filled('```\na\n~~~\n'),
  'fences in lists': filled('- ```\n1. ~~~ js\n'),
  'fences in quotes': filled('> ```a\n\n> - ~~~\n> x\n'),
  'marks of quotes and lists': filled('> - 1. '),
  'ending marks': filled('. ! ? '),
  'dots alone': filled('.'),
  'equal lines': filled('The same line of text again and again, for ever.\n'),
  'equal lines that no quote can name': filled('The same … of text again and again, for ever.\n'),
  'equal documents': filled(`${'The mill stands by the river in the valley. '.repeat(8)}\n\n`),
  'question marks on lines': filled('why?\n'),
  'context marks': filled('Document 1: a\n</document>\nQuestion: b?\n\n'),
  references: filled('[same text as above: the line "a"]\n'),
  gaps: filled('… '),
  'lone surrogates': filled('\ud83d. \udc00! '),
  'bidirectional text': filled('\u{202e}אבג. \u{202d}abc! '),
  digits: filled('1.'),
  'dotted words': filled('ab.'),
  pipes: filled('| '),
  tabs: filled('a\t'),
  'code starts': filled('return '),
  'commas on lines': filled('a,b\n'),
};

describe.each(MODES)('$mode', (options) => {
  test.each(Object.entries(TEXTS))('1 MB of %s', (_, text) => {
    const messages: ChatMessage[] = [{ role: 'user', content: `Read this.\n\n${text}\n\nWho founded the mill?` }];
    let once = compressMessages([], options);
    expect(cpuMs(() => (once = compressMessages(messages, options)))).toBeLessThan(MAX_MS);
    expect(compressMessages(once.messages, options).messages).toEqual(once.messages);
    expect(once.messages[0]?.content).toMatch(/^Read this\.[^]*Who founded the mill\?$/);
  });

  test('100,000 messages', () => {
    const messages = Array.from({ length: 100_000 }, (_, i): ChatMessage => {
      return { role: i % 2 === 0 ? 'user' : 'assistant', content: `Message ${i % 1000} says little.  \n\n\nDoes it?` };
    });
    let compressed: readonly ChatMessage[] = [];
    expect(cpuMs(() => ({ messages: compressed } = compressMessages(messages, options)))).toBeLessThan(MAX_MS);
    expect(compressed[0]?.content).toBe('Message 0 says little.\n\nDoes it?');
    expect(compressed[1]).toBe(messages[1]);
  });
});
