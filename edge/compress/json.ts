/** Strict JSON by a scanner that never builds a value: where one ends and which blanks in it mean nothing. Knows no messages. */

export interface JsonScan {
  readonly valid: boolean;
  /** One past the value; where it stops being JSON if it is not valid. */
  readonly end: number;
  /** Blanks between tokens, as pairs of start and end. */
  readonly blanks: readonly number[];
}

type Expected = 'value' | 'value or close' | 'key' | 'key or close' | 'colon' | 'comma or close';

/** Deeper values are not JSON to us: they stay as they are. */
const MAX_DEPTH = 64;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const LITERAL = /true|false|null/y;
const HEX = /[0-9a-fA-F]{4}/y;
const [QUOTE, BACKSLASH, COMMA, COLON] = [0x22, 0x5c, 0x2c, 0x3a];
const [OPEN_OBJECT, CLOSE_OBJECT, OPEN_ARRAY, CLOSE_ARRAY] = [0x7b, 0x7d, 0x5b, 0x5d];

/** The object or array (RFC 8259) that begins at `start`. `onValue` hears of each string, number and literal. */
export function scanJson(text: string, start: number, onValue?: (start: number, end: number) => void): JsonScan {
  const blanks: number[] = [];
  const open: number[] = [];
  let expected: Expected = 'value';
  let at = start;
  const ended = (valid: boolean) => ({ valid, end: at, blanks });
  do {
    const from = at;
    while (isBlank(text.charCodeAt(at))) at++;
    if (at > from) blanks.push(from, at);
    const code = text.charCodeAt(at);
    if (code === OPEN_OBJECT || code === OPEN_ARRAY) {
      if (!expected.startsWith('value') || open.length === MAX_DEPTH) return ended(false);
      open.push(code + 2);
      expected = code === OPEN_OBJECT ? 'key or close' : 'value or close';
      at++;
    } else if (code === CLOSE_OBJECT || code === CLOSE_ARRAY) {
      if (!expected.endsWith('close') || open.pop() !== code) return ended(false);
      expected = 'comma or close';
      at++;
    } else if (code === COMMA || code === COLON) {
      if (expected !== (code === COMMA ? 'comma or close' : 'colon')) return ended(false);
      expected = code === COMMA && open.at(-1) === CLOSE_OBJECT ? 'key' : 'value';
      at++;
    } else {
      const isKey = expected.startsWith('key');
      if (!(isKey ? code === QUOTE : expected.startsWith('value'))) return ended(false);
      const scalar = scalarEnd(text, at, code);
      if (scalar === null) {
        if (code === QUOTE) at = Math.max(at, text.indexOf('\n', at));
        return ended(false);
      }
      onValue?.(at, scalar);
      expected = isKey ? 'colon' : 'comma or close';
      at = scalar;
    }
  } while (open.length > 0);
  return ended(true);
}

/** `text` from `start` to the scan's end without its meaningless blanks: every token is verbatim. */
export function withoutBlanks(text: string, start: number, { end, blanks }: JsonScan): string {
  let kept = '';
  let at = start;
  for (let i = 0; i < blanks.length; i += 2) {
    kept += text.slice(at, blanks[i]);
    at = blanks[i + 1] ?? end;
  }
  return kept + text.slice(at, end);
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09;
}

function scalarEnd(text: string, at: number, code: number): number | null {
  return code === QUOTE ? stringEnd(text, at) : (match(NUMBER, text, at) ?? match(LITERAL, text, at));
}

function match(pattern: RegExp, text: string, at: number): number | null {
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex : null;
}

function stringEnd(text: string, quote: number): number | null {
  for (let at = quote + 1; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) return at + 1;
    if (code < 0x20) return null;
    if (code !== BACKSLASH) continue;
    const escape = text[++at] ?? '';
    if (escape === 'u') {
      if (match(HEX, text, at + 1) === null) return null;
      at += 4;
    } else if (!'"\\/bfnrt'.includes(escape) || escape === '') return null;
  }
  return null;
}
