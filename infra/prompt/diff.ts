/** Two texts → their differences, line by line, in colour or without. Pure. */
import { diff } from 'node:util';

/** Equal lines around a change that are shown. */
const CONTEXT = 2;
const MARKS = { '-1': { mark: '-', colour: '31' }, 0: { mark: ' ', colour: null }, 1: { mark: '+', colour: '32' } };

/** Lines of `before` that go with `-`, lines of `after` that come with `+`. '' when they are equal. */
export function lineDiff(before: string, after: string, { colour }: { readonly colour: boolean }): string {
  // Node calls what the first of the two has alone an insertion.
  const entries = diff(before.split('\n'), after.split('\n')).map(([operation, line]) => ({ side: -operation, line }));
  const changed = entries.flatMap(({ side }, i) => (side === 0 ? [] : [i]));
  const isShown = (i: number) => changed.some((at) => Math.abs(at - i) <= CONTEXT);
  const lines: string[] = [];
  for (const [i, { side, line }] of entries.entries()) {
    if (isShown(i)) lines.push(marked(side, visible(line), colour));
    else if (i === 0 || isShown(i - 1)) lines.push('  …');
  }
  return changed.length === 0 ? '' : lines.join('\n');
}

function marked(side: number, line: string, coloured: boolean): string {
  const { mark, colour } = side < 0 ? MARKS['-1'] : side > 0 ? MARKS[1] : MARKS[0];
  const text = `${mark} ${line}`;
  return coloured && colour !== null ? `\u{1b}[${colour}m${text}\u{1b}[0m` : text;
}

/** Blanks at the end, and what a terminal would obey. */
function visible(line: string): string {
  return line
    .replace(/[ \t]+$/, (blanks) => '·'.repeat(blanks.length))
    .replace(/(?!\t)[\p{Cc}\u{202a}-\u{202e}\u{2066}-\u{2069}]/gu, (char) => {
      return `\\u{${char.charCodeAt(0).toString(16)}}`;
    });
}
