import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { joinUnits, parseUnits } from '../../../edge/compress/units.ts';
import { text } from './texts.ts';

const canonical = (content: string) => joinUnits(parseUnits(content));
const kinds = (content: string) =>
  parseUnits(content)
    .map(({ kind }) => kind)
    .filter((kind) => kind !== 'blank');

test('only blanks are deleted, and canonical text reads as the same units', () => {
  fc.assert(
    fc.property(text, (content) => {
      const units = parseUnits(content);
      const again = parseUnits(joinUnits(units));
      expect(again.map(({ kind, text: each }) => [kind, each])).toEqual(
        units.map(({ kind, text: each }) => [kind, each]),
      );
      const bare = (each: string) => each.replaceAll(/[ \t\r\n]/g, '');
      expect(bare(joinUnits(units))).toBe(bare(content));
    }),
    { numRuns: 2000 },
  );
});

test('units cover their text without overlap, and code and tables are verbatim', () => {
  fc.assert(
    fc.property(text, (content) => {
      let at = 0;
      for (const unit of parseUnits(content)) {
        expect(unit.start).toBe(at);
        at = unit.end + 1;
        const source = content.slice(unit.start, unit.end);
        if (unit.kind === 'table' || (unit.kind === 'code' && unit.jsonAt === null)) expect(unit.text).toBe(source);
      }
      expect(at).toBe(content.length + 1);
    }),
    { numRuns: 2000 },
  );
});

test('blanks at line ends and runs of blank lines go, outside code', () => {
  expect(canonical('a  \t\r\n\n \n\t\n\nb  ')).toBe('a\n\nb');
  expect(canonical('\n\n\na\n\n\n')).toBe('\na\n');
  expect(canonical('```\na  \n\n\n\nb\n```\n\n\n\nc')).toBe('```\na  \n\n\n\nb\n```\n\nc');
  expect(canonical('~~~~\na  \n~~~\nb  \n~~~~\nc  ')).toBe('~~~~\na  \n~~~\nb  \n~~~~\nc');
  expect(canonical('open:\n```\na  \n\n\n\n')).toBe('open:\n```\na  \n\n\n\n');
});

test.each([
  ['1. ```python\nThe mill.  \n\n\n\nIt turns.\n   ```'],
  ['10) ~~~\n    The mill.  \n\n\n    ~~~'],
  ['- * ```js title="a.js"\n    The mill.  \n    ```'],
  ['> ```\n> The mill.  \n> ```'],
  ['> 1. ```js more words\n>    The mill.  \n>    ```'],
  ['> ```\n> The mill.  '],
])('a fence in a list or a quote is code up to the line that closes it: %j', (code) => {
  expect(kinds(code)).toEqual(['code']);
  expect(kinds(`Before:\n${code}\nThe mill.  \n\n\n\nIt is old.`)).toEqual(['prose', 'code', 'prose', 'prose']);
  expect(canonical(`${code}\nIt is old.  `)).toBe(`${code}\nIt is old.`);
});

test.each(['- ``` begins code', '> The mark ``` begins code', '-```js', '1.```js', '* `` `'])(
  '%j opens no fence',
  (line) => {
    expect(kinds(`${line}  \nIt is old.  `)).toEqual(['prose', 'prose']);
  },
);

test('JSON in a fence within a list stays as far in as it is', () => {
  expect(canonical('1. ```json\n   {\n     "a": 1\n   }\n   ```')).toBe('1. ```json\n   {"a":1}\n   ```');
});

test.each([
  ['def f(x):  \n    return x * 2  \n\n\n\ndef g(x):  \n    pass'],
  ['const a = 1;  \nif (a) {\n  go();  \n}'],
  ['#include <stdio.h>  \n\nint main() {  \n  return 0;\n}'],
  ['name: mill  \nport: 8080  \nhosts:\n  - one  '],
  ['SELECT name FROM mills  \nWHERE year > 1700;  '],
  ['    indented code  \n    goes on  '],
  ['<div>  \n  <p>text</p><b>x</b>  \n</div>'],
  ['diff --git a/x b/x  \n+++ b/x  '],
])('unfenced code stays: %j', (code) => {
  expect(new Set(kinds(code))).toEqual(new Set(['code']));
  expect(canonical(code)).toBe(code);
});

test.each([
  'The mill stands by the river; it is old.',
  'In 2019, the price rose to $5 (about 4 euros),\nand fell again.',
  'Question: who founded the mill?\nAnswer:',
  'return to the mill in the evening, for it is beautiful then.',
  '- bread\n- milk and honey\n- stones',
  'Citations[1] are prose, as[2] are (remarks).',
  'Paris -- the city of light.',
  'Он не пришёл. 这不是真的。',
])('prose is prose: %j', (prose) => {
  expect(new Set(kinds(prose))).toEqual(new Set(['prose']));
});

test('tables and rows of comma-separated values stay', () => {
  const table = '| a | b |  \n|---|---|\n| 1 | 2 |  ';
  expect(kinds(table)).toEqual(['table']);
  expect(canonical(table)).toBe(table);
  expect(kinds('id,name,price\n1,mill,20')).toEqual(['table']);
});

test('JSON loses its blanks as a whole message, within lines of its own, and in a json fence', () => {
  const json = '{\n  "a": [1.0, 1E5, 12345678901234567890],\n  "s": "x  y",\n  "s": null\n}';
  const small = '{"a":[1.0,1E5,12345678901234567890],"s":"x  y","s":null}';
  expect(canonical(json)).toBe(small);
  expect(canonical(`Tool result:\n${json}  \nGo on.`)).toBe(`Tool result:\n${small}\nGo on.`);
  expect(canonical(`\`\`\`json\n${json}\n\`\`\``)).toBe(`\`\`\`json\n${small}\n\`\`\``);
  expect(canonical(`\`\`\`js\n${json}\n\`\`\``)).toBe(`\`\`\`js\n${json}\n\`\`\``);
  expect(canonical('[ ] buy bread\n[ ]\n[1] A title')).toBe('[ ] buy bread\n[ ]\n[1] A title');
});
