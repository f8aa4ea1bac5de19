/** Strict JSON by a scanner that never builds a value: where one ends and which blanks in it mean nothing. Knows no messages. */

export interface JsonScan {
  readonly valid: boolean;
  /** One past the value; where it stops being JSON if it is not valid. */
  readonly end: number;
  /** Blanks between tokens, as pairs of start and end. */
  readonly blanks: readonly number[];
}

/** What may come next. */
const [VALUE, CLOSE, KEY, COLON_SIGN, COMMA_SIGN] = [1, 2, 4, 8, 16];

/** Deeper values are not JSON to us: they stay as they are. */
const MAX_DEPTH = 64;
const LITERALS = ['true', 'false', 'null'];
const [QUOTE, BACKSLASH, COMMA, COLON] = [0x22, 0x5c, 0x2c, 0x3a];
const [OPEN_OBJECT, CLOSE_OBJECT, OPEN_ARRAY, CLOSE_ARRAY] = [0x7b, 0x7d, 0x5b, 0x5d];
const [MINUS, PLUS, DOT, ZERO, NINE, SMALL_E, SMALL_U] = [0x2d, 0x2b, 0x2e, 0x30, 0x39, 0x65, 0x75];
const [BLANK, PLAIN, ESCAPED, HEX] = [1, 2, 4, 8];
/** PLAIN: stands for itself in a string. */
const KINDS = new Uint8Array(0x10000).fill(PLAIN, 0x20);
for (const [kind, characters] of [
  [BLANK, ' \n\r\t'],
  [ESCAPED, '"\\/bfnrt'],
  [HEX, '0123456789abcdefABCDEF'],
] as const) {
  for (const character of characters) {
    const code = character.charCodeAt(0);
    KINDS[code] = (KINDS[code] ?? 0) | kind;
  }
}
for (const end of [QUOTE, BACKSLASH]) KINDS[end] = (KINDS[end] ?? 0) & ~PLAIN;

const has = (code: number | undefined, kind: number) => ((KINDS[code ?? 0] ?? 0) & kind) !== 0;

/** The object or array (RFC 8259) that begins at `start`; a zero ends `codes`. `onValue` hears of each string, number and literal. */
export function scanJson(codes: Uint16Array, start: number, onValue?: (start: number, end: number) => void): JsonScan {
  const blanks: number[] = [];
  const open: number[] = [];
  let expected = VALUE;
  let at = start;
  do {
    const from = at;
    while (has(codes[at], BLANK)) at++;
    if (at > from) blanks.push(from, at);
    const code = codes[at] ?? 0;
    if (code === OPEN_OBJECT || code === OPEN_ARRAY) {
      if ((expected & VALUE) === 0 || open.length === MAX_DEPTH) return { valid: false, end: at, blanks };
      open.push(code + 2);
      expected = code === OPEN_OBJECT ? KEY | CLOSE : VALUE | CLOSE;
      at++;
    } else if (code === CLOSE_OBJECT || code === CLOSE_ARRAY) {
      if ((expected & CLOSE) === 0 || open.pop() !== code) return { valid: false, end: at, blanks };
      expected = COMMA_SIGN | CLOSE;
      at++;
    } else if (code === COMMA || code === COLON) {
      if ((expected & (code === COMMA ? COMMA_SIGN : COLON_SIGN)) === 0) return { valid: false, end: at, blanks };
      expected = code === COMMA && open[open.length - 1] === CLOSE_OBJECT ? KEY : VALUE;
      at++;
    } else {
      const isKey = (expected & KEY) !== 0;
      if (!(isKey ? code === QUOTE : (expected & VALUE) !== 0)) return { valid: false, end: at, blanks };
      const scalar = code === QUOTE ? stringEnd(codes, at) : (numberEnd(codes, at) ?? literalEnd(codes, at));
      if (scalar === null) return { valid: false, end: at, blanks };
      onValue?.(at, scalar);
      expected = isKey ? COLON_SIGN : COMMA_SIGN | CLOSE;
      at = scalar;
    }
  } while (open.length > 0);
  return { valid: true, end: at, blanks };
}

/** `text` from `start` to the scan's end without its meaningless blanks: every token is verbatim. */
export function withoutBlanks(text: string, start: number, { end, blanks }: JsonScan): string {
  if (blanks.length === 0) return text.slice(start, end);
  const tokens: string[] = [];
  let at = start;
  for (let i = 0; i < blanks.length; i += 2) {
    tokens.push(text.slice(at, blanks[i]));
    at = blanks[i + 1] ?? end;
  }
  tokens.push(text.slice(at, end));
  return tokens.join('');
}

function stringEnd(codes: Uint16Array, quote: number): number | null {
  for (let at = quote + 1; ; at++) {
    while (has(codes[at], PLAIN)) at++;
    const code = codes[at];
    if (code === QUOTE) return at + 1;
    if (code !== BACKSLASH) return null;
    const escape = codes[++at];
    if (escape === SMALL_U) {
      for (let digit = at + 1; digit <= at + 4; digit++) if (!has(codes[digit], HEX)) return null;
      at += 4;
    } else if (!has(escape, ESCAPED)) return null;
  }
}

function numberEnd(codes: Uint16Array, from: number): number | null {
  let at = codes[from] === MINUS ? from + 1 : from;
  const whole = codes[at] === ZERO ? at + 1 : digitsEnd(codes, at);
  if (whole === at) return null;
  at = whole;
  const fraction = codes[at] === DOT ? digitsEnd(codes, at + 1) : at;
  if (fraction > at + 1) at = fraction;
  if (((codes[at] ?? 0) | 0x20) !== SMALL_E) return at;
  const sign = codes[at + 1];
  const digits = sign === PLUS || sign === MINUS ? at + 2 : at + 1;
  const exponent = digitsEnd(codes, digits);
  return exponent > digits ? exponent : at;
}

function digitsEnd(codes: Uint16Array, from: number): number {
  let at = from;
  while ((codes[at] ?? 0) >= ZERO && (codes[at] ?? 0) <= NINE) at++;
  return at;
}

function literalEnd(codes: Uint16Array, at: number): number | null {
  for (const literal of LITERALS) {
    let i = 0;
    while (i < literal.length && codes[at + i] === literal.charCodeAt(i)) i++;
    if (i === literal.length) return at + i;
  }
  return null;
}
