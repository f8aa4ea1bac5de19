import { describe, expect, test } from 'vitest';
import { quoteOf } from '../../../edge/compress/quotes.ts';
import { holdsReference, RepeatIndex } from '../../../edge/compress/repeats.ts';
import { joinUnits, readText } from '../../../edge/compress/units.ts';

const LONG = 'The mill stands by the river in the green valley. '.repeat(6).trim();
const replaced = (index: RepeatIndex, content: string) => {
  const result = index.replace(readText(content), () => false);
  index.commit(result);
  return { content: joinUnits(result.units), references: result.references };
};

test('a long line that stands above becomes a reference with its begin and its end', () => {
  const index = new RepeatIndex();
  index.add(`Before.\n${LONG}\nAfter.`);
  const { content, references } = replaced(index, `New.\n${LONG}\nEnd.`);
  expect(content).toBe(
    'New.\n[same text as above: the line "The mill stands by the river in the g … ver in the green valley."]\nEnd.',
  );
  expect(references).toBe(1);
  expect(holdsReference(content)).toBe(true);
});

test('short lines count together; blank lines at the end of a run stay', () => {
  const index = new RepeatIndex();
  const list = Array.from({ length: 12 }, (_, i) => `A line of the list, item ${i}`).join('\n');
  index.add(`${list}\n\nAfter.`);
  expect(replaced(index, `${list}\n\nOther.`).content).toBe(
    '[same text as above: the 12 lines from "A line of the list, item 0"]\n\nOther.',
  );
  expect(replaced(index, list.slice(0, 200)).references).toBe(0);
});

describe('no reference', () => {
  test('to lines with one quote and two texts', () => {
    const index = new RepeatIndex();
    const [one, other] = ['x', 'y'].map((letter) => LONG.replace('green valley. The', `green ${letter} The`));
    index.add(`${one}\n${other}`);
    expect(replaced(index, String(one)).references).toBe(0);
  });

  test('to a line whose quote another line is', () => {
    const index = new RepeatIndex();
    const line = `A heading of a long text, and more ${'about the mill and its wheel, '.repeat(8)}to the end`;
    index.add(`${quoteOf(line)}\n${line}`);
    expect(replaced(index, line)).toEqual({ content: line, references: 0 });
  });

  test('to a short line that reads like the begin and the end of another', () => {
    const index = new RepeatIndex();
    const lines = `The mill stands … green valley.\n${LONG.slice(0, -1)}!`;
    index.add(`${LONG}\n${lines}`);
    expect(replaced(index, lines).content).toMatch(/^The mill stands … green valley\.\n\[same .* "The mill stands by/);
  });

  test('over the end of a message', () => {
    const index = new RepeatIndex();
    index.add(LONG.slice(0, 150));
    index.add(LONG.slice(150, 290));
    expect(replaced(index, `${LONG.slice(0, 150)}\n${LONG.slice(150, 290)}`).references).toBe(0);
  });

  test('for code and tables', () => {
    const index = new RepeatIndex();
    const code = `\`\`\`\n${'const a = 1;\n'.repeat(30)}\`\`\``;
    const table = `| mill | year |\n${'| Ashford on the river | 1712 |\n'.repeat(12)}| end | - |`;
    index.add(`${code}\n\n${table}`);
    expect(replaced(index, `${code}\n\n${table}`)).toEqual({ content: `${code}\n\n${table}`, references: 0 });
  });

  test('to what was rolled back', () => {
    const index = new RepeatIndex();
    index.replace(readText(LONG), () => false);
    index.rollBack();
    expect(replaced(index, LONG).references).toBe(0);
    expect(replaced(index, LONG).references).toBe(1);
  });
});

test('within one message, and of it: sources are told', () => {
  const index = new RepeatIndex();
  const { units, references, sources } = index.replace(readText(`${LONG}\n\n${LONG}\n\n${LONG}`), () => false);
  expect(units.map(({ kind }) => kind)).toEqual(['prose', 'blank', 'reference', 'blank', 'reference']);
  expect({ references, sources: [...sources] }).toEqual({ references: 2, sources: [0] });
});

test('a quote cuts no surrogate pair', () => {
  for (const lead of ['', 'x']) {
    const index = new RepeatIndex();
    const line = lead + '😀'.repeat(200);
    index.add(line);
    const { content, references } = replaced(index, line);
    expect(references).toBe(1);
    expect(content.isWellFormed()).toBe(true);
  }
});
