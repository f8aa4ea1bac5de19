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
  let yamlCount = 0;
  for (const line of lines) {
    const look = lookAt(text, line);
    kinds.push(kindBy(look, text, line));
    if (isYaml(look, text, line)) yamlCount++;
  }
  if (yamlCount >= 2 && yamlCount >= YAML_SHARE * lines.length) return kinds.fill('code');
  fillBetween(kinds);
  // An indented line belongs to the code line above it.
  for (let i = 1; i < lines.length; i++) {
    const line = lines[i];
    if (kinds[i - 1] === 'code' && line !== undefined && isIndented(text, line, 1)) kinds[i] = 'code';
  }
  return kinds;
}

/** All between the first and the last line of code is code. */
function fillBetween(kinds: LineKind[]): void {
  const [from, to] = [kinds.indexOf('code'), kinds.lastIndexOf('code')];
  for (let i = from; i < to; i++) kinds[i] = 'code';
}

/**
 * Nearly all lines are prose, and patterns are slow: each needs one of these characters, or a line that begins or ends
 * in a certain way, which is looked for first.
 */
const [HOLDS_MARK, TABLE_MARK, BEGIN_MARK, COLON_MARK, BEYOND_ASCII] = [1, 2, 4, 8, 16];
const MARKS = new Uint8Array(0x80);
for (const [mark, characters] of [
  [HOLDS_MARK, '=&|:>[<$/\\;()'],
  [TABLE_MARK, '|\t'],
  [BEGIN_MARK, '=;:(<{'],
  [COLON_MARK, ':'],
] as const) {
  for (const character of characters) {
    const code = character.charCodeAt(0);
    MARKS[code] = (MARKS[code] ?? 0) | mark;
  }
}
/** What BEGINS_LIKE_CODE may find in a line without a BEGIN_MARK begins with one of these, or ends in + or -. */
const FIRST_TOKEN =
  /[#)}\]@/*>$+-]|(?:export|default|async|public|private|protected|static|abstract|final|pub|override|class|import|from|package|return|else|try|finally|do|SELECT|INSERT|DELETE|CREATE|ALTER|DROP|WHERE|FROM|JOIN|GROUP|ORDER|VALUES|UPDATE|diff|File|RUN|ENV)\b/y;
const LAST_CHARACTERS = '{}[(;,';
const COMMA = 0x2c;

interface Look {
  /** One past what is shown. */
  readonly end: number;
  readonly marks: number;
  readonly commas: number;
}

function lookAt(text: string, { first, last }: Line): Look {
  const end = Math.min(last, first + SHOWN_CHARS);
  let [marks, commas] = [0, 0];
  for (let i = first; i < end; i++) {
    const code = text.charCodeAt(i);
    if (code >= 0x80) marks |= BEYOND_ASCII;
    else if (code === COMMA) commas++;
    else marks |= MARKS[code] ?? 0;
  }
  return { end, marks, commas };
}

function kindBy({ end, marks, commas }: Look, text: string, { first, last }: Line): LineKind {
  if ((marks & (TABLE_MARK | BEYOND_ASCII)) !== 0 && TABLE.test(text.slice(first, end))) return 'table';
  if (mayBeginLikeCode(marks, text, { first, end })) {
    BEGINS_LIKE_CODE.lastIndex = 0;
    if (BEGINS_LIKE_CODE.test(text.slice(first, end))) return 'code';
  }
  if ((marks & HOLDS_MARK) !== 0 && HOLDS_CODE.test(text.slice(first, end))) return 'code';
  const mayEndLikeCode = LAST_CHARACTERS.includes(text[last - 1] ?? ' ');
  if (mayEndLikeCode && ENDS_LIKE_CODE.test(text.slice(Math.max(first, last - 3), last))) return 'code';
  return commas >= 2 && CSV.test(text.slice(first, end)) ? 'table' : 'prose';
}

function mayBeginLikeCode(
  marks: number,
  text: string,
  { first, end }: { readonly first: number; readonly end: number },
): boolean {
  if ((marks & BEGIN_MARK) !== 0) return true;
  const last = text[end - 1];
  if (last === '+' || last === '-') return true;
  FIRST_TOKEN.lastIndex = first;
  return FIRST_TOKEN.test(text);
}

function isYaml({ end, marks }: Look, text: string, { start, first, last }: Line): boolean {
  return (marks & COLON_MARK) !== 0 && last - start < SHOWN_CHARS && YAML.test(text.slice(first, end));
}

/** By so many columns at least; a tab is enough. */
function isIndented(text: string, { start, first }: Line, columns: number): boolean {
  return first - start >= columns || text[start] === '\t';
}
