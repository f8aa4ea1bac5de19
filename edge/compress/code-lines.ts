/** Which lines of a paragraph are unfenced code, YAML or a table, by their look. Knows no messages; doubt makes code. */

/** A line that is not blank; offsets into its text. */
export interface Line {
  readonly start: number;
  /** First character that is not a blank. */
  readonly first: number;
  /** One past the last character that is not a blank. */
  readonly last: number;
  /** Its line feed, or the text's end. */
  readonly end: number;
  /** Which of the marks below it shows. */
  readonly marks: number;
}

export type LineKind = 'prose' | 'code' | 'table';

/** So much of a line shows what it is. Bounds every pattern below. */
const SHOWN_CHARS = 120;
const INDENTED_CODE = 4;

const BEGINS_LIKE_CODE = new RegExp(
  [
    '(?:export|default|async|public|private|protected|static|abstract|final|pub|override) .*[{;(=,:)]$',
    '(?:def|fn|func|function|class|interface|struct|enum|trait|impl|namespace|module|type) [\\w$.<>]+ ?[(<{:=]',
    '(?:const|let|var|auto|int|long|float|double|bool|char|string|void|val) [\\w$*&{[]+.{0,60}[=;:(]',
    'class \\w+$|function\\*? ?\\(|import [\\w{*"\'][\\w{}*"\'$., /@-]*(?: from |;$|$)|from [\\w.]+ import ',
    '#(?:include|define|ifdef|ifndef|endif|pragma|!)|package [\\w.]+;?$|using [\\w.]+;|return;?$|return .*[;)]$|\\w+;$',
    '(?:if|for|while|switch|elif|else if|catch|with|except|match|case|until)\\b.*[{:]$|(?:else|try|finally|do)[ :{]*$',
    '[)}\\]]+[;,)]*$|\\} (?:else|catch|finally|while)|@\\w+(?:\\(|$)|//|/\\*|\\*/|>>> |\\$ [a-z]',
    '(?:SELECT|INSERT INTO|DELETE FROM|CREATE|ALTER|DROP|WHERE|FROM|JOIN|GROUP BY|ORDER BY|VALUES|UPDATE)\\b.*[\\w*;(),]$',
    '(?:\\+\\+\\+|---) [ab/]|@@ .*@@|diff --git|Traceback \\(|File "|at .*:\\d+\\)?$|<[?!]|RUN \\w|ENV \\w',
    '</?(?:html|head|body|div|span|p|ul|ol|li|table|t[rdh]|form|script|style|section|button|template|svg|h[1-6])\\b[^>]*>',
    '[\\w$.[\\]"\']+ ?(?:[-+*/|&^%:]?=|<-)(?: |;|$)|\\w+(?:\\+\\+|--);?$|[\\w$.]+\\(.*\\)[;:]?$|[\\w-]+=\\S+$',
  ]
    .map((each) => `(?:${each})`)
    .join('|'),
  'y',
);
const HOLDS_CODE =
  /=>|[=!]==?|&&|\|\||::|->|[-+*/]=|\(\)|\)[;{]|\w\[\w+\](?: ?=|\.\w|\[)|\$\{|<\/[a-z]+>.*<|\/>|;\s*\/\/|\\[nt0]/;
/** Of the last characters of a line. */
const ENDS_LIKE_CODE = /[{}[(]$|[\])}"'] ?;$|["\]}] ?,$/;
/** A key in lower case and at most a short value. */
const YAML = /^(?:- )?["']?[a-z_][\w./-]*["']?:(?: \S.{0,79})?$/;
const YAML_SHARE = 0.6;
const TABLE = /^\|.*\||\S \| .*\S \| \S|[│┃║]|\S\t.*\S\t/;
const CSV = /^[^,\s]+(?: [^,\s]+)?(?:,[^,\s][^,]*|,){2,}$/;

/** One kind per line. `afterCode`: the paragraph before this one ended in code. */
export function kindsOf(text: string, lines: readonly Line[], afterCode: boolean): readonly LineKind[] {
  const opener = lines[0];
  const goesOn = opener !== undefined && isIndented(text, opener, afterCode ? 1 : INDENTED_CODE);
  if (goesOn) return lines.map(() => 'code');
  const kinds: LineKind[] = [];
  let first = 0;
  for (; first < lines.length && kinds.at(-1) !== 'code'; first++) kinds.push(kindAt(text, lines, first));
  if (kinds.at(-1) === 'code') fillCode(text, lines, kinds);
  // Paragraphs without a code line may still be YAML, and so may what no code line is in.
  if (kinds.some((kind) => kind !== 'code') && isYaml(text, lines)) return kinds.fill('code');
  return kinds;
}

/** `kinds` end in the first line of code: all between that and the last one is code. */
function fillCode(text: string, lines: readonly Line[], kinds: LineKind[]): void {
  const first = kinds.length - 1;
  const after: LineKind[] = [];
  for (let i = lines.length - 1; i > first && after.at(-1) !== 'code'; i--) after.push(kindAt(text, lines, i));
  const last = after.at(-1) === 'code' ? lines.length - after.length : first;
  while (kinds.length <= last) kinds.push('code');
  // An indented line belongs to the code line above it.
  for (let i = last + 1; i < lines.length; i++) {
    const line = lines[i];
    const belongs = kinds[i - 1] === 'code' && line !== undefined && isIndented(text, line, 1);
    kinds.push(belongs ? 'code' : (after[lines.length - 1 - i] ?? 'prose'));
  }
}

function kindAt(text: string, lines: readonly Line[], i: number): LineKind {
  const line = lines[i];
  return line === undefined ? 'prose' : kindBy(text, line);
}

function isYaml(text: string, lines: readonly Line[]): boolean {
  let count = 0;
  for (const line of lines) if ((line.marks & COLON_MARK) !== 0 && isYamlLine(text, line)) count++;
  return count >= 2 && count >= YAML_SHARE * lines.length;
}

/**
 * Nearly all lines are prose, and patterns are slow: each needs one of these characters, or a line that begins or ends
 * in a certain way, which is looked for first.
 */
const [HOLDS_MARK, TABLE_MARK, BEGIN_MARK, COMMA_MARK, FEED_MARK] = [1, 2, 4, 8, 16];
/** For whoever else looks for labels in lines of prose. */
export const [COLON_MARK, BEYOND_ASCII, OPENER_MARK] = [32, 64, 128];
const MARKS = new Uint8Array(0x10000).fill(BEYOND_ASCII, 0x80);
const [LAST_MARK, SIGN_MARK] = [1, 2];
/** Of a line's last character. */
const LAST_MARKS = new Uint8Array(0x10000);
for (const [marks, mark, characters] of [
  [MARKS, HOLDS_MARK, '=&|:>[<$/\\;()'],
  [MARKS, TABLE_MARK, '|'],
  [MARKS, BEGIN_MARK, '=;:(<{'],
  [MARKS, COMMA_MARK, ','],
  [MARKS, COLON_MARK, ':'],
  // The zero after a text ends its last line.
  [MARKS, FEED_MARK, '\n\0\t'],
  [LAST_MARKS, LAST_MARK, '{}[(;,'],
  [LAST_MARKS, SIGN_MARK, '+-'],
] as const) {
  for (const character of characters) {
    const code = character.charCodeAt(0);
    marks[code] = (marks[code] ?? 0) | mark;
  }
}
/** What BEGINS_LIKE_CODE may find in a line without a BEGIN_MARK begins with one of these, or ends in + or -. */
const FIRST_WORDS =
  'export default async public private protected static abstract final pub override class import from package return else ' +
  'try finally do SELECT INSERT DELETE CREATE ALTER DROP WHERE FROM JOIN GROUP ORDER VALUES UPDATE diff File RUN ENV';
const FIRST_SIGNS = '#)}]@/*>$+-';
const FIRST_TOKEN = new RegExp(`[${FIRST_SIGNS.replace(']', '\\]')}]|(?:${FIRST_WORDS.replaceAll(' ', '|')})\\b`, 'y');
/** Of a line's first two characters, in ASCII. */
const FIRST_PAIRS = new Uint8Array(0x4000);
for (const word of FIRST_WORDS.split(' ')) FIRST_PAIRS[word.charCodeAt(0) * 0x80 + word.charCodeAt(1)] = 1;
for (const sign of FIRST_SIGNS) FIRST_PAIRS.fill(1, sign.charCodeAt(0) * 0x80, sign.charCodeAt(0) * 0x80 + 0x80);
/** A line that begins so may begin a context (`own-words.ts`). */
const OPENERS = '[<#*\v\f';
const [TAB, FEED, RETURN, SPACE] = [0x09, 0x0a, 0x0d, 0x20];

/** The line that begins at `start`, whose first character that is no blank is at `first`. */
export function lineAt(
  text: string,
  codes: Uint16Array,
  { start, first }: { readonly start: number; readonly first: number },
): Line {
  const shownEnd = first + SHOWN_CHARS;
  let marks = 0;
  let end = first;
  let tab = -1;
  for (; end < shownEnd; end++) {
    const mark = MARKS[codes[end] ?? 0] ?? 0;
    if ((mark & FEED_MARK) === 0) marks |= mark;
    else if (codes[end] === TAB) tab = tab < 0 ? end : tab;
    else if (codes[end] === FEED || end >= text.length) break;
  }
  if (end === shownEnd && end < text.length && codes[end] !== FEED) {
    const feed = text.indexOf('\n', end);
    end = feed < 0 ? text.length : feed;
  }
  let last = end;
  for (; last > first; last--) {
    const code = codes[last - 1];
    if (code !== SPACE && code !== TAB && code !== RETURN) break;
  }
  if (tab >= 0 && tab < last) marks |= TABLE_MARK;
  const firstCode = codes[first] ?? 0;
  if (OPENER_CODES[firstCode] === 1) marks |= OPENER_MARK;
  return { start, first, last, end, marks };
}
const OPENER_CODES = new Uint8Array(0x10000);
for (const opener of OPENERS) OPENER_CODES[opener.charCodeAt(0)] = 1;

function kindBy(text: string, { first, last, marks }: Line): LineKind {
  const end = Math.min(last, first + SHOWN_CHARS);
  if ((marks & (TABLE_MARK | BEYOND_ASCII)) !== 0 && TABLE.test(text.slice(first, end))) return 'table';
  if (mayBeginLikeCode(marks, text, { first, end })) {
    BEGINS_LIKE_CODE.lastIndex = 0;
    if (BEGINS_LIKE_CODE.test(text.slice(first, end))) return 'code';
  }
  if ((marks & HOLDS_MARK) !== 0 && HOLDS_CODE.test(text.slice(first, end))) return 'code';
  const mayEndLikeCode = last > 0 && LAST_MARKS[text.charCodeAt(last - 1)] === LAST_MARK;
  if (mayEndLikeCode && ENDS_LIKE_CODE.test(text.slice(Math.max(first, last - 3), last))) return 'code';
  return (marks & COMMA_MARK) !== 0 && CSV.test(text.slice(first, end)) ? 'table' : 'prose';
}

function mayBeginLikeCode(
  marks: number,
  text: string,
  { first, end }: { readonly first: number; readonly end: number },
): boolean {
  if ((marks & BEGIN_MARK) !== 0) return true;
  if (end > first && LAST_MARKS[text.charCodeAt(end - 1)] === SIGN_MARK) return true;
  const one = text.charCodeAt(first);
  const other = first + 1 < text.length ? text.charCodeAt(first + 1) : 0;
  if (one >= 0x80 || FIRST_PAIRS[one * 0x80 + Math.min(other, 0x7f)] !== 1) return false;
  FIRST_TOKEN.lastIndex = first;
  return FIRST_TOKEN.test(text);
}

function isYamlLine(text: string, { start, first, last }: Line): boolean {
  return last - start < SHOWN_CHARS && YAML.test(text.slice(first, Math.min(last, first + SHOWN_CHARS)));
}

/** By so many columns at least; a tab is enough. */
function isIndented(text: string, { start, first }: Line, columns: number): boolean {
  return first - start >= columns || text.charCodeAt(start) === TAB;
}
