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
  const kinds = lines.map((line): LineKind => lineKind(text, line));
  const yamlCount = lines.filter((line) => line.last - line.start < SHOWN_CHARS && YAML.test(shown(text, line))).length;
  const isYaml = yamlCount >= 2 && yamlCount >= YAML_SHARE * lines.length;
  const opener = lines[0];
  const goesOn = opener !== undefined && isIndented(text, opener, afterCode ? 1 : INDENTED_CODE);
  if (isYaml || goesOn) return kinds.map(() => 'code');
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

/** HOLDS_CODE and TABLE need one of these. Looking for them first is cheaper. */
const CODE_MARKS = marks('=&|:>[<$/\\;()');
const TABLE_MARKS = marks('|\t');

function marks(characters: string): Uint8Array {
  return Uint8Array.from({ length: 128 }, (_, code) => (characters.includes(String.fromCharCode(code)) ? 1 : 0));
}

function lineKind(text: string, line: Line): LineKind {
  const head = shown(text, line);
  let codeMarks = 0;
  let tableMarks = 0;
  let isAscii = true;
  for (let i = 0; i < head.length; i++) {
    const code = head.charCodeAt(i);
    if (code >= 128) isAscii = false;
    else {
      codeMarks |= CODE_MARKS[code] ?? 0;
      tableMarks |= TABLE_MARKS[code] ?? 0;
    }
  }
  if ((tableMarks > 0 || !isAscii) && TABLE.test(head)) return 'table';
  BEGINS_LIKE_CODE.lastIndex = 0;
  if (BEGINS_LIKE_CODE.test(head) || (codeMarks > 0 && HOLDS_CODE.test(head))) return 'code';
  if (ENDS_LIKE_CODE.test(text.slice(Math.max(line.first, line.last - 3), line.last))) return 'code';
  return CSV.test(head) ? 'table' : 'prose';
}

function shown(text: string, { first, last }: Line): string {
  return text.slice(first, Math.min(last, first + SHOWN_CHARS));
}

/** By so many columns at least; a tab is enough. */
function isIndented(text: string, { start, first }: Line, columns: number): boolean {
  return first - start >= columns || text[start] === '\t';
}
