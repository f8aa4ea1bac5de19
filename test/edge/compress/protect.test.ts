import { expect, test } from 'vitest';
import { protectedSpans } from '../../../edge/compress/protect.ts';

const found = (text: string, kind: string) =>
  protectedSpans(text)
    .filter((span) => span.kind === kind)
    .map(({ start, end }) => text.slice(start, end));

test('numbers with sign, glue and unit', () => {
  const text =
    'It weighs -3.5 kg, costs $1,200.50 or 20%, began 2026-01-02 at 10:30 am, as the 5th of twenty H100 cards, ½ done.';
  const expected = ['-3.5 kg', '$1,200.50', '20%', '2026-01-02', '10:30 am', '5th', 'twenty', 'H100', '½'];
  expect(found(text, 'number')).toEqual(expected);
  expect(found('٣ كتب, १२ and ３', 'number')).toEqual(['٣', '१२', '３']);
});

test('negations in several languages', () => {
  const text = "Not now; I don’t know, can't say. Никогда не пей. Das ist kein Haus. Ce n'est pas vrai. Nobody cannot.";
  const expected = ['Not', 'don’t', "can't", 'Никогда', 'не', 'kein', "n'est", 'pas', 'Nobody', 'cannot'];
  expect(found(text, 'negation')).toEqual(expected);
  expect(found('这不是真的。食べません。하지 않았다.', 'negation')).toEqual(['不', 'ません', '않았다']);
  expect(found('A knot is nothingness to a nose.', 'negation')).toEqual([]);
});

test('quotes, inline code, links and identifiers', () => {
  expect(found("She said \"go. Now.\" and “wait”, «or», 「左」 or 'so it is', it's the miller's.", 'quote')).toEqual([
    ...['"go. Now."', '“wait”', '«or»', '「左」', "'so it is'"],
  ]);
  expect(found('Run `a  b` or ``c ` d`` at once', 'inline code')).toEqual(['`a  b`', '``c ` d``']);
  expect(found('See https://example.org/a?b=c#d, or www.example.org/x now', 'url')).toEqual([
    ...['https://example.org/a?b=c#d,', 'www.example.org/x'],
  ]);
  expect(found('Call foo_bar, obj.method, getName or me@example.org, e.g. here', 'identifier')).toEqual([
    ...['foo_bar', 'obj.method', 'getName', 'me@example.org'],
  ]);
});

test('what is never closed protects the rest of its line only', () => {
  expect(found('He said "go on\nand on', 'quote')).toEqual(['"go on']);
  expect(found('a `b c\nd', 'inline code')).toEqual(['`b c']);
});

test('code, tables and JSON values', () => {
  expect(found('a\n```\nb\n```\nc', 'code')).toEqual(['```\nb\n```']);
  expect(found('a\n1. ```\nb\n   ```\nc', 'code')).toEqual(['1. ```\nb\n   ```']);
  expect(found('| a | b |\n| 1 | 2 |', 'table')).toEqual(['| a | b |\n| 1 | 2 |']);
  const json = '{"a": [1.0, "x  y", null]}';
  expect(found(json, 'json value')).toEqual(['"a"', '1.0', '"x  y"', 'null']);
  expect(found(`\`\`\`json\n${json}\n\`\`\``, 'json value')).toEqual(['"a"', '1.0', '"x  y"', 'null']);
});
