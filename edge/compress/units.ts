/** A message's text as units (lines of prose, blank runs, code, tables, JSON) in canonical form. Knows no conversation. */
import { kindsOf, lineAt, type Line } from './code-lines.ts';
import { CodeBuffer } from './codes.ts';
import { closes, isQuote, openingFence, type Fence } from './fences.ts';
import { scanJson, withoutBlanks } from './json.ts';
import { NO_QUOTE, quoteHash, quoteHashOf } from './quotes.ts';

export interface Unit {
  /** `prose`, `json` and `blank` are one line in canonical form; `code` and `table` are verbatim, line feeds included. */
  readonly kind: 'prose' | 'blank' | 'code' | 'table' | 'json';
  /** In the text it was read from, without the line feed that ends it. */
  readonly start: number;
  readonly end: number;
  /** Canonical form. Equal to the source exactly if it is as long; of prose it is the source's begin. */
  readonly text: string;
  /** Where the JSON in it begins in the source, its own or that of a ```json fence. */
  readonly jsonAt: number | null;
  /** Hash of its quote (`quotes.ts`); NO_QUOTE where it may be several lines. */
  readonly quote: number;
  /** Of prose: which marks of `code-lines.ts` its begin holds. */
  readonly marks: number;
}

export interface ReadText {
  readonly units: readonly Unit[];
  /** UTF-16 code units of the text and a zero; valid until the next text is read. */
  readonly codes: Uint16Array;
}

/** Smaller JSON on one line stays as it is: `[ ]` may be a box to tick. */
const MIN_JSON_CHARS = 32;
const [TAB, FEED, RETURN, SPACE] = [0x09, 0x0a, 0x0d, 0x20];
const [OPEN_BRACE, OPEN_BRACKET] = [0x7b, 0x5b];

const [buffer, aside] = [new CodeBuffer(), new CodeBuffer()];

/**
 * Canonical: no blanks at the ends of lines of prose, one blank line where there were more (not within code), JSON
 * without blanks between tokens. `joinUnits(parseUnits(x))` is a fixed point: reading it again gives the same units.
 */
export function parseUnits(text: string): readonly Unit[] {
  return new Reader(text, aside.load(text)).read();
}

/** As `parseUnits`, for those who go on with the codes: `parseUnits` leaves them alone. */
export function readText(text: string): ReadText {
  const codes = buffer.load(text);
  return { units: new Reader(text, codes).read(), codes };
}

export function joinUnits(units: readonly Pick<Unit, 'text'>[]): string {
  let text = units[0]?.text ?? '';
  for (let i = 1; i < units.length; i++) text += `\n${units[i]?.text ?? ''}`;
  return text;
}

class Reader {
  readonly #text: string;
  readonly #codes: Uint16Array;
  readonly #units: Unit[] = [];
  #paragraph: Line[] = [];
  #at = 0;
  /** A value that failed reached up to here: none is looked for before, so that scanning stays linear. */
  #jsonFrom = 0;

  constructor(text: string, codes: Uint16Array) {
    this.#text = text;
    this.#codes = codes;
  }

  read(): readonly Unit[] {
    const { length } = this.#text;
    while (this.#at <= length) {
      const first = this.#readBlankRun();
      if (first === null) continue;
      const line = this.#line(this.#at, first);
      if (this.#readFence(line) || this.#readJson(line)) continue;
      this.#paragraph.push(line);
      this.#at = line.end + 1;
    }
    this.#endParagraph();
    this.#keepWithinCode();
    return this.#units;
  }

  /** Blank lines between code and code are code. */
  #keepWithinCode(): void {
    const units = this.#units;
    for (let i = 1; i < units.length - 1; i++) {
      const unit = units[i];
      if (unit?.kind !== 'blank' || unit.start === unit.end) continue;
      if (units[i - 1]?.kind !== 'code' || units[i + 1]?.kind !== 'code') continue;
      units[i] = { ...unit, text: this.#text.slice(unit.start, unit.end) };
    }
  }

  /** null: there was one. Else where the line's first character that is not a blank stands. */
  #readBlankRun(): number | null {
    const codes = this.#codes;
    const from = this.#at;
    let end = -1;
    let at = from;
    for (; isBlank(codes[at] ?? 0); at++) if (codes[at] === FEED) end = at;
    if (at === this.#text.length) end = at;
    if (end < from) return at;
    this.#endParagraph();
    this.#push({ kind: 'blank', start: from, end, text: '', jsonAt: null, quote: NO_QUOTE, marks: 0 });
    return null;
  }

  #readFence(opener: Line): boolean {
    const fence = openingFence(this.#text, this.#codes, opener);
    if (fence === null) return false;
    this.#endParagraph();
    const { close, end } = this.#endOf(opener, fence);
    const { start } = opener;
    const isJson = close !== null && fence.info.trim().toLowerCase() === 'json';
    const jsonAt = isJson ? this.#bodyStart(opener, close) : null;
    const json = close === null || jsonAt === null ? null : this.#fencedJson(jsonAt, close);
    const common = { kind: 'code', start, end, quote: NO_QUOTE, marks: 0 } as const;
    if (close === null || jsonAt === null || json === null) {
      this.#push({ ...common, text: this.#text.slice(start, end), jsonAt: null });
    } else {
      const [begin, finish] = [this.#text.slice(start, opener.end), this.#text.slice(close.start, end)];
      // In a list, what is indented belongs to it.
      const indent =
        fence.at === opener.first ? '' : this.#text.slice(this.#text.lastIndexOf('\n', jsonAt) + 1, jsonAt);
      this.#push({ ...common, text: `${begin}\n${indent}${json}\n${finish}`, jsonAt });
    }
    return true;
  }

  /** The line that closes the fence, if there is one, and where its code ends. */
  #endOf(opener: Line, fence: Fence): { readonly close: Line | null; readonly end: number } {
    const { length } = this.#text;
    for (let at = opener.end + 1; at <= length;) {
      const first = this.#firstFrom(at);
      if (fence.isQuoted && !isQuote(this.#codes[first])) return { close: null, end: at - 1 };
      if (fence.isQuoted || this.#codes[first] === this.#codes[fence.at]) {
        const line = this.#line(at, first);
        if (closes(fence, this.#codes, line)) return { close: line, end: line.end };
      }
      const feed = this.#text.indexOf('\n', first);
      at = feed < 0 ? length + 1 : feed + 1;
    }
    return { close: null, end: length };
  }

  #bodyStart(opener: Line, close: Line): number | null {
    let at = opener.end + 1;
    while (at < close.start && isBlank(this.#codes[at] ?? 0)) at++;
    return this.#isJsonOpener(at) ? at : null;
  }

  #fencedJson(jsonAt: number, close: Line): string | null {
    const scan = scanJson(this.#codes, jsonAt);
    const isWhole = scan.valid && scan.end < close.start && this.#text.slice(scan.end, close.start).trim() === '';
    return isWhole ? withoutBlanks(this.#text, jsonAt, scan) : null;
  }

  /** An object or array that begins a line and ends one. */
  #readJson({ start, first, end }: Line): boolean {
    if (!this.#isJsonOpener(first) || first < this.#jsonFrom) return false;
    const scan = scanJson(this.#codes, first);
    const rest = this.#line(scan.end, this.#firstFrom(scan.end));
    if (!scan.valid || rest.first < rest.end) {
      this.#jsonFrom = rest.end;
      return false;
    }
    this.#endParagraph();
    const isSmall = scan.end <= end && scan.end - first < MIN_JSON_CHARS;
    const json = isSmall ? this.#text.slice(first, scan.end) : withoutBlanks(this.#text, first, scan);
    const text = first === start ? json : this.#text.slice(start, first) + json;
    this.#push({ kind: 'json', start, end: rest.end, text, jsonAt: first, quote: quoteHashOf(text), marks: 0 });
    return true;
  }

  #endParagraph(): void {
    const lines = this.#paragraph;
    if (lines.length === 0) return;
    this.#paragraph = [];
    const before = this.#units.at(-1)?.kind === 'blank' ? this.#units.at(-2) : this.#units.at(-1);
    const kinds = kindsOf(this.#text, lines, before?.kind === 'code');
    for (let i = 0; i < lines.length; i++) {
      const line = lines[i];
      const kind = kinds[i];
      if (line === undefined || kind === undefined) continue;
      const { start, marks } = line;
      let end = line.end;
      if (kind !== 'prose') {
        while (kinds[i + 1] === kind) end = lines[++i]?.end ?? end;
      }
      const isProse = kind === 'prose';
      const last = isProse ? line.last : end;
      const quote = isProse ? quoteHash(this.#codes, start, last) : NO_QUOTE;
      this.#push({ kind, start, end, text: this.#text.slice(start, last), jsonAt: null, quote, marks });
    }
  }

  #push(unit: Unit): void {
    this.#units.push(unit);
    this.#at = unit.end + 1;
  }

  #line(start: number, first: number): Line {
    return lineAt(this.#text, this.#codes, { start, first });
  }

  /** The first character from `at` on that is no blank, or the line's end. */
  #firstFrom(at: number): number {
    let first = at;
    while (isBlank(this.#codes[first] ?? 0) && this.#codes[first] !== FEED) first++;
    return first;
  }

  #isJsonOpener(at: number): boolean {
    const code = this.#codes[at];
    return code === OPEN_BRACE || code === OPEN_BRACKET;
  }
}

function isBlank(code: number): boolean {
  return code === SPACE || code === FEED || code === TAB || code === RETURN;
}
