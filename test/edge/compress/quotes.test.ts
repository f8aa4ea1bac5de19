import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { hasQuote, quoteHashOf, quoteOf } from '../../../edge/compress/quotes.ts';

const MARK = ' … ';
const UNITS = [...'aabbccdd1122   ', '\u{3000}', '…', '😀', '\ud83d', '\ude00'];
const part = fc.string({ unit: fc.constantFrom(...UNITS), minLength: 20, maxLength: 40 });
const line = fc.tuple(part, part, part).map((parts) => parts.join(''));

test('a quote cut at a blank goes on to the next word, so that it fits no other', () => {
  const tail = 'was written to the ledger by the nightly job.';
  expect(quoteOf(`Payment from the account, number 12 ${tail}`)).toBe(
    'Payment from the account, number 12 w … dger by the nightly job.',
  );
  expect(quoteOf(`Payment from the account, number 123 ${tail}`)).toBe(
    'Payment from the account, number 123 … dger by the nightly job.',
  );
  const end = 'on the day of the fire';
  expect(quoteOf(`The payment was written to the ledger at once, 1 ${end}`)).toMatch(/… 1 on the day of the fire$/);
});

test('a short line with the mark in it has no quote, nor has a long one with another mark in its begin', () => {
  expect(quoteOf('The mill … the river.')).toBeNull();
  expect(quoteOf(`The mill … the river. ${'It is old. '.repeat(9)}`)).toBeNull();
  expect(
    quoteOf(`The mill at the river in the valley. ${'It is old … '.repeat(9)}Yes, it is as old as the bridge.`),
  ).not.toBeNull();
});

test('lines that begin and end as a quote says have that quote, of which its hash tells', () => {
  let found = 0;
  fc.assert(
    fc.property(line, part, (one, middle) => {
      const quote = quoteOf(one);
      expect(hasQuote(one)).toBe(quote !== null);
      if (quote === null || one.length <= 60) return;
      const [head = '', tail = '', ...more] = quote.split(MARK);
      expect(more).toEqual([]);
      expect(one.startsWith(head) && one.endsWith(tail)).toBe(true);
      if (one.isWellFormed()) expect(quote.isWellFormed()).toBe(true);
      const other = head + middle + tail;
      if (other.length <= 60) return;
      found++;
      expect(quoteOf(other)).toBe(quote);
      expect(quoteHashOf(other)).toBe(quoteHashOf(one));
    }),
    { numRuns: 3000 },
  );
  expect(found).toBeGreaterThan(300);
});
