import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { Detokenizer } from '../../../gpu-worker/text/detokenizer.ts';
import { BYTE_TOKENS } from '../../support/engine-world.ts';

test('pieces join to the text, and no piece holds half a character', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), (text) => {
      const detokenizer = new Detokenizer(BYTE_TOKENS);
      const pieces = Array.from(new TextEncoder().encode(text), (byte) => detokenizer.push(byte));
      expect(pieces.join('') + detokenizer.flush()).toBe(text);
      for (const piece of pieces) expect(piece.isWellFormed() && !piece.includes('\ufffd')).toBe(true);
    }),
  );
});

test('a character that never completes shows as U+FFFD at the end', () => {
  const detokenizer = new Detokenizer(BYTE_TOKENS);
  expect([0xe2, 0x82].map((byte) => detokenizer.push(byte))).toEqual(['', '']);
  expect(detokenizer.flush()).toBe('\ufffd');
});
