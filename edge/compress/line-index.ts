/** Lines of a conversation's output so far, found by their quotes. Knows no references. */
import { CodeBuffer } from './codes.ts';
import { HashIds } from './hash-ids.ts';
import { NO_QUOTE, quoteHash, quoteHashOf } from './quotes.ts';
import type { Unit } from './units.ts';

const FEED = 0x0a;
const buffer = new CodeBuffer();

export class LineIndex {
  /** What each line stands in, from where to where; null: the end of a message. */
  readonly #texts: (string | null)[] = [];
  readonly #starts: number[] = [];
  readonly #ends: number[] = [];
  /** By quote: where the line with it stands first; null: several lines have it. */
  readonly #quotes = new HashIds();
  readonly #firsts: (number | null)[] = [];
  /** Quotes of earlier messages that this one made ambiguous, and where they stood. */
  readonly #spoilt: number[] = [];
  /** Lines of this message that stand above already: where, and where again. */
  readonly met: number[] = [];
  /** Of this message. */
  start = 0;
  #quotesBefore = 0;
  /** That lines are taken from now. */
  #text = '';

  get size(): number {
    return this.#texts.length;
  }

  /** A whole text, line after line. */
  addText(text: string): void {
    this.#addLines(text, buffer.load(text), 0);
  }

  /** `codes` are those of the text that the unit was read from. */
  addUnit({ kind, text, start, end, quote }: Unit, codes: Uint16Array): void {
    if (kind === 'prose' || kind === 'json' || text === '') {
      this.#text = text;
      this.#add(0, text.length, quote);
    } else if (text.length === end - start) this.#addLines(text, codes, start);
    else this.addText(text);
  }

  addLine(line: string): void {
    this.#text = line;
    this.#add(0, line.length, quoteHashOf(line));
  }

  /** What was taken in stays: the message ends. */
  commit(): void {
    this.#texts.push(null);
    this.#starts.push(0);
    this.#ends.push(0);
    this.#spoilt.length = 0;
    this.met.length = 0;
    this.start = this.#texts.length;
    this.#quotesBefore = this.#quotes.size;
  }

  /** As before this message. */
  rollBack(): void {
    for (let i = 0; i < this.#spoilt.length; i += 2) this.#firsts[this.#spoilt[i] ?? 0] = this.#spoilt[i + 1] ?? null;
    this.#spoilt.length = 0;
    this.met.length = 0;
    this.#quotes.shrink(this.#quotesBefore);
    for (const lines of [this.#texts, this.#starts, this.#ends]) lines.length = this.start;
  }

  /** Where the line with this quote stands first; null: nowhere, or several lines have it. */
  first(hash: number): number | null {
    const id = this.#quotes.find(hash);
    return id === null ? null : (this.#firsts[id] ?? null);
  }

  /** null: the end of a message. */
  lineAt(at: number): string | null {
    const text = this.#texts[at] ?? null;
    const start = this.#starts[at] ?? 0;
    const end = this.#ends[at] ?? 0;
    return text === null || (start === 0 && end === text.length) ? text : text.slice(start, end);
  }

  #isEqual(a: number, b: number): boolean {
    const [startA, startB] = [this.#starts[a] ?? 0, this.#starts[b] ?? 0];
    if ((this.#ends[a] ?? 0) - startA !== (this.#ends[b] ?? 0) - startB) return false;
    return (this.#texts[a] === this.#texts[b] && startA === startB) || this.lineAt(a) === this.lineAt(b);
  }

  /** `text` stands in `codes` from `base` on. */
  #addLines(text: string, codes: Uint16Array, base: number): void {
    this.#text = text;
    const end = base + text.length;
    let start = base;
    for (let at = base; at < end; at++) {
      if (codes[at] !== FEED) continue;
      this.#add(start - base, at - base, quoteHash(codes, start, at));
      start = at + 1;
    }
    this.#add(start - base, end - base, quoteHash(codes, start, end));
  }

  /** The line from `start` to `end` in `#text`. */
  #add(start: number, end: number, hash: number): void {
    const at = this.#texts.push(this.#text) - 1;
    this.#starts.push(start);
    this.#ends.push(end);
    if (hash === NO_QUOTE) return;
    const known = this.#quotes.size;
    const id = this.#quotes.add(hash);
    if (id === known) {
      this.#firsts[id] = at;
      return;
    }
    const first = this.#firsts[id] ?? null;
    if (first === null) return;
    if (this.#isEqual(first, at)) {
      this.met.push(first, at);
      return;
    }
    if (id < this.#quotesBefore) this.#spoilt.push(id, first);
    this.#firsts[id] = null;
  }
}
