/** A message's text as units (lines of prose, blank runs, code, tables, JSON) in canonical form. Knows no conversation. */
import { kindsOf, type Line } from './code-lines.ts';
import { scanJson, withoutBlanks } from './json.ts';

export interface Unit {
  /** `prose`, `json` and `blank` are one line in canonical form; `code` and `table` are verbatim, line feeds included. */
  readonly kind: 'prose' | 'blank' | 'code' | 'table' | 'json';
  /** In the text it was read from, without the line feed that ends it. */
  readonly start: number;
  readonly end: number;
  /** Canonical form. Equal to the source exactly if it is as long. */
  readonly text: string;
  /** Where the JSON in it begins in the source, its own or that of a ```json fence. */
  readonly jsonAt: number | null;
}

/** Smaller JSON on one line stays as it is: `[ ]` may be a box to tick. */
const MIN_JSON_CHARS = 32;
const [TAB, FEED, RETURN, SPACE, BACKTICK, TILDE] = [0x09, 0x0a, 0x0d, 0x20, 0x60, 0x7e];
const [OPEN_BRACE, OPEN_BRACKET] = [0x7b, 0x5b];

/**
 * Canonical: no blanks at the ends of lines of prose, one blank line where there were more (not within code), JSON
 * without blanks between tokens. `joinUnits(parseUnits(x))` is a fixed point: reading it again gives the same units.
 */
export function parseUnits(text: string): readonly Unit[] {
  return new Reader(text).read();
}

export function joinUnits(units: readonly Pick<Unit, 'text'>[]): string {
  let text = units[0]?.text ?? '';
  for (let i = 1; i < units.length; i++) text += `\n${units[i]?.text ?? ''}`;
  return text;
}

class Reader {
  readonly #text: string;
  readonly #units: Unit[] = [];
  #paragraph: Line[] = [];
  #at = 0;
  /** A value that failed reached up to here: none is looked for before, so that scanning stays linear. */
  #jsonFrom = 0;

  constructor(text: string) {
    this.#text = text;
  }

  read(): readonly Unit[] {
    while (this.#at <= this.#text.length) {
      if (this.#readBlankRun()) continue;
      const line = this.#line(this.#at);
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

  #readBlankRun(): boolean {
    let end = -1;
    let at = this.#at;
    for (; at < this.#text.length; at++) {
      const code = this.#text.charCodeAt(at);
      if (code === FEED) end = at;
      else if (!isBlank(code)) break;
    }
    if (at === this.#text.length) end = at;
    if (end < this.#at) return false;
    this.#endParagraph();
    this.#push({ kind: 'blank', start: this.#at, end, text: '', jsonAt: null });
    return true;
  }

  #readFence(opener: Line): boolean {
    const marker = this.#fenceAt(opener);
    if (marker === null) return false;
    const info = this.#text.slice(opener.first + marker.length, opener.last);
    if (marker.startsWith('`') && info.includes('`')) return false;
    this.#endParagraph();
    let close: Line | null = null;
    for (let at = opener.end + 1; at <= this.#text.length && close === null;) {
      const line = this.#line(at);
      if (this.#fenceAt(line)?.startsWith(marker) === true && this.#isOnlyFence(line)) close = line;
      at = line.end + 1;
    }
    const end = close?.end ?? this.#text.length;
    const jsonAt = close !== null && info.trim().toLowerCase() === 'json' ? this.#bodyStart(opener, close) : null;
    const json = close === null || jsonAt === null ? null : this.#fencedJson(jsonAt, close);
    if (close === null || jsonAt === null || json === null) {
      this.#push({ kind: 'code', start: opener.start, end, text: this.#text.slice(opener.start, end), jsonAt: null });
    } else {
      const [begin, finish] = [this.#text.slice(opener.start, opener.end), this.#text.slice(close.start, end)];
      this.#push({ kind: 'code', start: opener.start, end, text: `${begin}\n${json}\n${finish}`, jsonAt });
    }
    return true;
  }

  /** Three or more backticks or tildes that a line begins with. */
  #fenceAt({ first, last }: Line): string | null {
    const code = this.#text.charCodeAt(first);
    if (code !== BACKTICK && code !== TILDE) return null;
    let end = first;
    while (end < last && this.#text.charCodeAt(end) === code) end++;
    return end - first >= 3 ? this.#text.slice(first, end) : null;
  }

  #isOnlyFence(line: Line): boolean {
    return this.#fenceAt(line)?.length === line.last - line.first;
  }

  #bodyStart(opener: Line, close: Line): number | null {
    let at = opener.end + 1;
    while (at < close.start && isBlank(this.#text.charCodeAt(at))) at++;
    return isJsonOpener(this.#text, at) ? at : null;
  }

  #fencedJson(jsonAt: number, close: Line): string | null {
    const scan = scanJson(this.#text, jsonAt);
    const isWhole = scan.valid && scan.end < close.start && this.#text.slice(scan.end, close.start).trim() === '';
    return isWhole ? withoutBlanks(this.#text, jsonAt, scan) : null;
  }

  /** An object or array that begins a line and ends one. */
  #readJson({ start, first, end }: Line): boolean {
    if (first < this.#jsonFrom || !isJsonOpener(this.#text, first)) return false;
    const scan = scanJson(this.#text, first);
    const rest = this.#line(scan.end);
    if (!scan.valid || rest.first < rest.end) {
      this.#jsonFrom = rest.end;
      return false;
    }
    this.#endParagraph();
    const isSmall = scan.end <= end && scan.end - first < MIN_JSON_CHARS;
    const json = isSmall ? this.#text.slice(first, scan.end) : withoutBlanks(this.#text, first, scan);
    this.#push({ kind: 'json', start, end: rest.end, text: this.#text.slice(start, first) + json, jsonAt: first });
    return true;
  }

  #endParagraph(): void {
    const lines = this.#paragraph;
    if (lines.length === 0) return;
    this.#paragraph = [];
    const before = this.#units.at(-1)?.kind === 'blank' ? this.#units.at(-2) : this.#units.at(-1);
    const kinds = kindsOf(this.#text, lines, before?.kind === 'code');
    for (let i = 0; i < lines.length; i++) {
      const [line, kind] = [lines[i], kinds[i]];
      if (line === undefined || kind === undefined) continue;
      let end = line.end;
      if (kind !== 'prose') {
        while (kinds[i + 1] === kind) end = lines[++i]?.end ?? end;
      }
      const last = kind === 'prose' ? line.last : end;
      this.#push({ kind, start: line.start, end, text: this.#text.slice(line.start, last), jsonAt: null });
    }
  }

  #push(unit: Unit): void {
    this.#units.push(unit);
    this.#at = unit.end + 1;
  }

  #line(start: number): Line {
    const feed = this.#text.indexOf('\n', start);
    const end = feed < 0 ? this.#text.length : feed;
    let first = start;
    while (first < end && isBlank(this.#text.charCodeAt(first))) first++;
    let last = end;
    while (last > first && isBlank(this.#text.charCodeAt(last - 1))) last--;
    return { start, first, last, end };
  }
}

function isBlank(code: number): boolean {
  return code === SPACE || code === TAB || code === RETURN || code === FEED;
}

function isJsonOpener(text: string, at: number): boolean {
  const code = text.charCodeAt(at);
  return code === OPEN_BRACE || code === OPEN_BRACKET;
}
