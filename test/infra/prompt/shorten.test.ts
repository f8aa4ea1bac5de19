import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { protectedSpans } from '../../../edge/compress/protect.ts';
import { shortenPrompt } from '../../../infra/prompt/shorten.ts';
import { cpuMs } from '../../support/cpu-time.ts';

describe('what goes', () => {
  test.each([
    ['You are a helpful assistant. Answer in French.', 'Answer in French.'],
    ['You are a helpful, knowledgeable and highly skilled AI assistant.\n\nAnswer in French.', 'Answer in French.'],
    ['You are a very experienced engineer of bridges.', 'You are an engineer of bridges.'],
    ['You are a highly skilled European editor.', 'You are a European editor.'],
    ['It is important that you reply in JSON.', 'Reply in JSON.'],
    ['It is essential that you must reply in JSON.', 'Reply in JSON.'],
    ['Please note that returns are free.', 'Returns are free.'],
    ['It is very important to remember that you must always ask first.', 'Always ask first.'],
    ['Your main task is to answer questions.', 'Answer questions.'],
    ['Make sure to ask for the name in order to find the order.', 'Ask for the name to find the order.'],
    ['In order to help, ask first.', 'To help, ask first.'],
    [
      'To the best of your ability, answer. Answer in French to the best of your knowledge.',
      'Answer. Answer in French.',
    ],
    ['- Ask first.\n- Please always ask first!\n- Answer then.', '- Ask first.\n- Answer then.'],
    ['Be brief. Ask first. You should always ask first.', 'Be brief. Ask first.'],
    ['Ask first.   \n\n\n\nAnswer then.', 'Ask first.\n\nAnswer then.'],
    ['Answer so:\n\n```json\n{ "a": 1 }\n```\n\nThank you!', 'Answer so:\n\n```json\n{"a":1}\n```'],
    ['请先确认。请先确认。然后回答。', '请先确认。然后回答。'],
  ])('%j becomes %j', (text, short) => {
    expect(shortenPrompt(text)).toBe(short);
  });
});

describe('what stays', () => {
  test.each([
    'You are a polite and friendly assistant.',
    'You are a helpful assistant.',
    '# Ask first\n\nThe shop opens early.\n\n# Ask first\n\nThe shop closes late.',
    'Never answer late. Always answer late.',
    'Returns are free within 30 days. Returns are free within 60 days.',
    'Say "in order to" and `in order to`.',
    'Tell how it works. Tell when it works.',
    '```python\n# Please note that this is in order to test\nx = 1   \n```',
    'Be polite. Be polite to children.',
    'Ask first.\n\nAsk first. ```js\nReturns are free.\n\n```\nPlease note that it rains.',
    'You will receive a question of a customer.',
    'You are a one-person team.',
    'You are a European.',
    'It is important that you are polite.',
    'It is vital that every answer is short.',
    'Make sure that you are polite to children.',
  ])('%j', (text) => {
    expect(shortenPrompt(text)).toBe(text);
  });

  test('a negation keeps its words', () => {
    expect(shortenPrompt('You should not share names. You must never share names.')).toBe(
      'You should not share names. You must never share names.',
    );
  });
});

/** Prompts of sentences that rules know, in any order, between code, lists and headings. */
const PARTS = [
  'You are a helpful assistant.',
  'Please note that you should always check the order of 12 boots.',
  'Make sure that you are able to say "please note that" in order to help.',
  'You must never promise a date.',
  '- Please be kind at all times.',
  '- It is important that each and every answer has `in order to`.',
  '1. You should always be kind.',
  '# Rules:',
  '```js\nplease();  // in order to\n```',
  '{ "please": [ 1, 2, "you should always be kind. You should always be kind." ] }',
  'See https://shop.example/please?order=1 prior to 2026-01-02.',
  'Thank you!',
  '\u{202e}bidirectional please\u{202c} and half a pair \ud83d.',
  '',
  '   ',
];
const prompts = fc
  .array(fc.tuple(fc.constantFrom(...PARTS), fc.constantFrom(' ', '\n', '\n\n', '   \n\n\n')), { maxLength: 16 })
  .map((parts) => parts.flat().join(''));

test('any prompt: shortened again it is the same, never longer, and nothing protected is lost', () => {
  fc.assert(
    fc.property(prompts, (text) => {
      const short = shortenPrompt(text);
      expect(shortenPrompt(short)).toBe(short);
      expect(short.length).toBeLessThanOrEqual(text.length);
      if (text.trim() !== '') expect(short).not.toBe('');
      for (const { start, end } of protectedSpans(text)) {
        const span = text.slice(start, end);
        // JSON in fences loses the blanks between its tokens.
        if (!span.includes('\n')) expect(short).toContain(span);
      }
    }),
    { numRuns: 2000 },
  );
});

test('20 kB of one sentence, and of sentences that nothing ends, take no time', () => {
  for (const text of [
    'Please note that '.repeat(1200),
    'Please always be kind. '.repeat(900),
    'you are a '.repeat(2000),
  ]) {
    expect(cpuMs(() => shortenPrompt(text))).toBeLessThan(2000);
  }
});
