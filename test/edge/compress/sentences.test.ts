import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { sentencesOf } from '../../../edge/compress/sentences.ts';
import { text } from './texts.ts';

const split = (line: string) => sentencesOf(line).map(({ start, end }) => line.slice(start, end));

test('sentences hold all of a line but the blanks between them, in order', () => {
  fc.assert(
    fc.property(text, (content) => {
      for (const line of content.split('\n')) {
        let at = 0;
        for (const { start, end } of sentencesOf(line)) {
          expect(line.slice(at, start)).toMatch(/^[ \t\r]*$/);
          expect(end).toBeGreaterThan(start);
          at = end;
        }
        expect(line.slice(at)).toMatch(/^[ \t\r]*$/);
      }
    }),
  );
});

test.each([
  ['One here. Two there!  "Three?" Four', ['One here.', 'Two there!', '"Three?"', 'Four']],
  [
    'Dr. Voss met J. R. Hill, e.g. at 3.5 km. Then they left.',
    ['Dr. Voss met J. R. Hill, e.g. at 3.5 km.', 'Then they left.'],
  ],
  ['It goes on... and on. (Really.) Yes.', ['It goes on... and on.', '(Really.)', 'Yes.']],
  ['这是磨坊。它很旧！谁建的？', ['这是磨坊。', '它很旧！', '谁建的？']],
  ['هل هذا صحيح؟ نعم هو.', ['هل هذا صحيح؟', 'نعم هو.']],
])('%s', (line, sentences) => {
  expect(split(line)).toEqual(sentences);
});

test('an ending mark makes a sentence complete', () => {
  expect(sentencesOf('A title').map(({ isComplete }) => isComplete)).toEqual([false]);
  expect(sentencesOf('It is. And').map(({ isComplete }) => isComplete)).toEqual([true, false]);
});
