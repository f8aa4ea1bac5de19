import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { proseSpans } from '../../../edge/compress/prose-spans.ts';
import { holdsGap } from '../../../edge/compress/gaps.ts';
import { shorten } from '../../../edge/compress/shorten.ts';
import { sentencesOf } from '../../../edge/compress/sentences.ts';
import { joinUnits, readText } from '../../../edge/compress/units.ts';

const SENTENCES = [
  'The mill stands by the river in the green valley.',
  'It was founded by Clara Voss as a young woman.',
  'People came from far away to see the great wheel.',
  'The walls are made of grey stone from the hills above.',
  'Many painters have shown the building in their work.',
  'Boats passed under the bridge in the evening light.',
  'The miller told stories to the children of the village.',
  'In 1712 it burned down.',
  'Nobody was ever hurt there.',
  'Is that a wonder at all to anybody here?',
  'Answer in the language of the old miller himself.',
  'A heading of some length without any mark',
];
const isDroppable = (sentence: string) => SENTENCES.indexOf(sentence) < 7;
const lines = fc.array(fc.array(fc.constantFrom(...SENTENCES), { minLength: 1, maxLength: 8 }), {
  minLength: 1,
  maxLength: 8,
});

function shortened(content: string, question: string, rate: number): string | null {
  const { units, codes } = readText(content);
  const result = shorten(units, codes, { question, rate, allowance: 0, isFixed: () => false });
  return result === null ? null : joinUnits(result.units);
}

test('at least the rate of the droppable text stays, nothing else goes, and order is kept', () => {
  fc.assert(
    fc.property(lines, fc.constantFrom(0.2, 0.5, 0.7), (given, rate) => {
      const content = given.map((line) => line.join(' ')).join('\n\n');
      const output = shortened(content, 'Who founded the mill?', rate);
      if (output === null) return;
      expect(holdsGap(output)).toBe(true);
      const all = content
        .split('\n\n')
        .flatMap((line) => sentencesOf(line).map(({ start, end }) => line.slice(start, end)));
      let [at, kept, total] = [0, 0, 0];
      for (const sentence of all) {
        const found = output.indexOf(sentence, at);
        const between = found < 0 ? '' : output.slice(at, found).replaceAll(/[…\s]/g, '');
        const stays = found >= 0 && between === '';
        if (stays) at = found + sentence.length;
        if (!isDroppable(sentence)) expect(stays, sentence).toBe(true);
        else total += sentence.length;
        if (isDroppable(sentence) && stays) kept += sentence.length;
      }
      expect(output.slice(at).replaceAll(/[…\s]/g, '')).toBe('');
      expect(kept).toBeGreaterThanOrEqual(rate * total - 1e-6);
      expect(output.length).toBeLessThan(content.length);
    }),
  );
});

test('a sentence with anything protected in it stays', () => {
  fc.assert(
    fc.property(lines, (given) => {
      const content = given.map((line) => line.join(' ')).join('\n');
      const output = shortened(content, 'stories', 0.2) ?? content;
      for (const line of content.split('\n')) {
        for (const { start, end } of proseSpans(line)) expect(output).toContain(line.slice(start, end));
      }
    }),
  );
});

test('what answers the question stays, also beside a sentence that names it', () => {
  const content = SENTENCES.slice(0, 7).join(' ');
  expect(shortened(content, 'Who told stories to children?', 0.2)).toMatch(
    /^… .*The miller told stories to the children of the village\.$/,
  );
  expect(shortened(content, 'Where does the mill stand, and who founded it?', 0.3)).toMatch(
    /^The mill stands .* Voss as a young woman\. .*…$/,
  );
});

test('neighbouring gaps are one, also over lines', () => {
  const content = [SENTENCES[0], SENTENCES[2], SENTENCES[3], SENTENCES[6]].join('\n\n');
  expect(shortened(content, 'the miller', 0.2)).toBe(`…\n\n${SENTENCES[6]}`);
});

test('little is left whole, and so is everything at rate 1', () => {
  expect(shortened(SENTENCES.slice(0, 3).join(' '), 'mill', 0.2)).toBeNull();
  expect(shortened(SENTENCES.join(' '), 'mill', 1)).toBeNull();
});

test('only a gap that stands alone is one', () => {
  expect(['…', 'a … b', 'a\n…', '… a'].map(holdsGap)).toEqual([true, true, true, true]);
  expect(['a…', '[…]', 'a…b', ''].map(holdsGap)).toEqual([false, false, false, false]);
});

test('a line as long as what is read at once, in three bytes a character, is read whole', () => {
  for (const length of [4094, 4095, 4096, 4097]) {
    const line = '語'.repeat(length - 2) + '3。';
    expect(proseSpans(line).map(({ kind, start }) => ({ kind, start }))).toEqual([
      { kind: 'number', start: length - 2 },
    ]);
  }
});
