import { expect, test } from 'vitest';
import { lineDiff } from '../../../infra/prompt/diff.ts';

const plain = { colour: false };

test('what goes stands before what comes; equal lines far from a change are left out', () => {
  const before = 'a\nb\nc\nd\ne\nf\ng\nold\nh\ni\nj\nk'.split('\n');
  const after = before.map((line) => (line === 'old' ? 'new' : line));
  expect(lineDiff(before.join('\n'), after.join('\n'), plain)).toBe(
    ['  …', '  f', '  g', '- old', '+ new', '  h', '  i', '  …'].join('\n'),
  );
});

test('equal texts have no difference', () => {
  expect(lineDiff('a\nb', 'a\nb', plain)).toBe('');
});

test('colours: red goes, green comes', () => {
  expect(lineDiff('a', 'b', { colour: true })).toBe('\u{1b}[31m- a\u{1b}[0m\n\u{1b}[32m+ b\u{1b}[0m');
});

test('blanks at the end show, and a terminal gets nothing to obey', () => {
  expect(lineDiff('a  \t', 'a', plain)).toBe('- a···\n+ a');
  expect(lineDiff('\u{1b}[2Ja\u{202e}b', 'a\tb', plain)).toBe(String.raw`- \u{1b}[2Ja\u{202e}b` + '\n+ a\tb');
});
