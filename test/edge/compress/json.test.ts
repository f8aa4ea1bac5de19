import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CodeBuffer } from '../../../edge/compress/codes.ts';
import { scanJson, withoutBlanks } from '../../../edge/compress/json.ts';

const scan = (text: string, start: number) => scanJson(new CodeBuffer().load(text), start);

const isObjectOrArray = (value: unknown) => typeof value === 'object' && value !== null;
const value = fc.jsonValue({ maxDepth: 4 }).filter(isObjectOrArray);

function parses(text: string): boolean {
  try {
    return isObjectOrArray(JSON.parse(text));
  } catch {
    return false;
  }
}

test('agrees with JSON.parse on what is JSON, also with one character changed', () => {
  const damaged = fc.tuple(value, fc.nat(), fc.constantFrom(...'{}[]",:\\0-1.eEu \ntrue')).map(([json, at, char]) => {
    const text = JSON.stringify(json, null, 1);
    const i = at % text.length;
    return text.slice(0, i) + char + text.slice(i + 1);
  });
  fc.assert(
    fc.property(damaged, (text) => {
      const begin = text.search(/\S/);
      const { valid, end } = scan(text, begin);
      expect(valid && text.slice(end).trim() === '').toBe(parses(text));
    }),
    { numRuns: 3000 },
  );
});

test('without blanks it is what JSON.stringify would write of its own output', () => {
  fc.assert(
    fc.property(value, fc.constantFrom(1, 2, '\t', ' \r\n '), (json, indent) => {
      const text = JSON.stringify(json, null, indent);
      const scanned = scan(text, 0);
      expect(scanned).toMatchObject({ valid: true, end: text.length });
      expect(withoutBlanks(text, 0, scanned)).toBe(JSON.stringify(json));
    }),
  );
});

describe('verbatim', () => {
  test.each([
    ['{ "n" : 1.0 , "n" : 1e5 }', '{"n":1.0,"n":1e5}'],
    ['[ 12345678901234567890 , -0 , 1E+2 ]', '[12345678901234567890,-0,1E+2]'],
    ['[ "a  \\u00e9\\/ \\" b" , { } , [ ] ]', '["a  \\u00e9\\/ \\" b",{},[]]'],
    ['{ "\ud83d" : "\u{202e} x" }', '{"\ud83d":"\u{202e} x"}'],
  ])('%s', (text, expected) => {
    expect(withoutBlanks(text, 0, scan(text, 0))).toBe(expected);
  });
});

test('a value ends where it ends; deep nesting is not JSON to us', () => {
  expect(scan('x [1] y', 2)).toMatchObject({ valid: true, end: 5 });
  expect(scan('['.repeat(64) + ']'.repeat(64), 0).valid).toBe(true);
  expect(scan('['.repeat(65) + ']'.repeat(65), 0).valid).toBe(false);
});
