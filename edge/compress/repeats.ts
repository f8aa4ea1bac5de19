/** Exact repeats of lines within a conversation, and the references that stand for them. Never reads a reference back. */
import type { Unit } from './units.ts';

/** What stands for a repeat is about 100 characters. */
const MIN_REPEAT_CHARS = 240;
/** A repeat begins with a line that can be told from others. */
const MIN_FIRST_CHARS = 16;
const [QUOTE_HEAD, QUOTE_TAIL] = [36, 24];
const REFERENCE = '[same text as above: ';

/** A message that holds this, ours or an imitation, is left as it is: nobody has to tell them apart. */
export function holdsReference(text: string): boolean {
  return text.includes(REFERENCE);
}

/** A unit of the output; `reference` stands for a run of units. */
export type Written = Pick<Unit, 'text'> & { readonly kind: Unit['kind'] | 'reference' };

export interface Replaced {
  readonly units: readonly Written[];
  /** Of each of `units`, the index that it had, or that its run began at. */
  readonly origins: readonly number[];
  readonly references: number;
  /** Indices of `units` that references of this message point at: they must stay whole. */
  readonly sources: ReadonlySet<number>;
}

/** Several lines have the same quote. */
const AMBIGUOUS = -1;

/** Lines of a conversation's output so far. */
export class RepeatIndex {
  /** null: the end of a message. */
  readonly #lines: (string | null)[] = [];
  /** Where the line with this quote stands first, or AMBIGUOUS. */
  readonly #byQuote = new Map<string, number>();
  /** Quotes that `replace` added, newest last, and what stood for them, so that it can be taken back. */
  #journal: string[] = [];
  #before: (number | undefined)[] = [];
  #messageStart = 0;

  /** Takes in a whole message as it will be sent. */
  add(content: string): void {
    for (const line of content.split('\n')) this.#push(line, quoteOf(line));
    this.commit();
  }

  /** Runs of whole lines that stand above already become references; `isFixed` units stay. Takes the result in. */
  replace(units: readonly Unit[], isFixed: (index: number) => boolean): Replaced {
    const written: Written[] = [];
    const origins: number[] = [];
    /** Index in `written` of each line of this message. */
    const unitOfLine: number[] = [];
    const sources = new Set<number>();
    let references = 0;
    const isFree = (i: number) => units[i] !== undefined && isReplaceable(units[i]) && !isFixed(i);
    const push = (line: string, quote: string | null) => {
      this.#push(line, quote);
      unitOfLine.push(written.length);
    };
    const write = (unit: Written, origin: number, quote: string | null) => {
      if (unit.kind === 'code' || unit.kind === 'table' || unit.kind === 'blank') {
        for (const line of unit.text.split('\n')) push(line, quoteOf(line));
      } else push(unit.text, quote);
      written.push(unit);
      origins.push(origin);
    };
    for (let i = 0; i < units.length;) {
      const unit = units[i];
      if (unit === undefined) break;
      const quote = quoteOf(unit.text);
      const run = quote === null ? null : this.#longestRun(units, i, { quote, isFree });
      if (run === null) {
        write(unit, i, quote);
        i++;
        continue;
      }
      for (let k = 0; k < run.count; k++) {
        const source = unitOfLine[run.at + k - this.#messageStart];
        if (source !== undefined) sources.add(source);
      }
      const text = referenceTo(quote ?? '', run.count);
      write({ kind: 'reference', text }, i, quoteOf(text));
      references++;
      i += run.count;
    }
    return { units: written, origins, references, sources };
  }

  /** What `replace` took in stays. */
  commit(): void {
    this.#lines.push(null);
    this.#forgetJournal();
    this.#messageStart = this.#lines.length;
  }

  /** As before `replace`. */
  rollBack(): void {
    for (let i = this.#journal.length - 1; i >= 0; i--) {
      const [quote, before] = [this.#journal[i] ?? '', this.#before[i]];
      if (before === undefined) this.#byQuote.delete(quote);
      else this.#byQuote.set(quote, before);
    }
    this.#forgetJournal();
    this.#lines.length = this.#messageStart;
  }

  #forgetJournal(): void {
    this.#journal.length = 0;
    this.#before.length = 0;
  }

  #push(line: string, quote: string | null): void {
    const at = this.#lines.push(line) - 1;
    if (quote === null) return;
    const before = this.#byQuote.get(quote);
    if (before === AMBIGUOUS || (before !== undefined && this.#lines[before] === line)) return;
    this.#journal.push(quote);
    this.#before.push(before);
    this.#byQuote.set(quote, before === undefined ? at : AMBIGUOUS);
  }

  /** Units from `i` on that equal lines above, from the first line with that quote on; null where that saves too little. */
  #longestRun(
    units: readonly Unit[],
    i: number,
    { quote, isFree }: { readonly quote: string; readonly isFree: (index: number) => boolean },
  ): { readonly at: number; readonly count: number } | null {
    const first = units[i]?.text ?? '';
    const at = this.#byQuote.get(quote) ?? AMBIGUOUS;
    if (at === AMBIGUOUS || this.#lines[at] !== first || !isFree(i)) return null;
    let [count, chars] = [1, first.length];
    for (let k = 1; at + k < this.#lines.length && isFree(i + k); k++) {
      const text = units[i + k]?.text ?? '';
      if (this.#lines[at + k] !== text) break;
      if (text === '') continue;
      chars += text.length + 1;
      count = k + 1;
    }
    return chars >= MIN_REPEAT_CHARS ? { at, count } : null;
  }
}

/** Code and tables stay: whoever works on them needs them whole where they stand. */
function isReplaceable({ kind, text }: Unit): boolean {
  return (kind === 'prose' || kind === 'json' || kind === 'blank') && !text.startsWith(REFERENCE);
}

function referenceTo(quote: string, count: number): string {
  return `${REFERENCE}the ${count === 1 ? 'line' : `${count} lines from`} "${quote}"]`;
}

/** A short line whole, else its begin and its end; null: too short to be told from others. */
function quoteOf(line: string): string | null {
  if (line.length < MIN_FIRST_CHARS) return null;
  if (line.length <= QUOTE_HEAD + QUOTE_TAIL) return line;
  return `${wellFormedHead(line).trimEnd()} … ${wellFormedTail(line).trimStart()}`;
}

/** No surrogate pair is cut. */
function wellFormedHead(line: string): string {
  const isPair = isHighSurrogate(line.charCodeAt(QUOTE_HEAD - 1));
  return line.slice(0, isPair ? QUOTE_HEAD - 1 : QUOTE_HEAD);
}

function wellFormedTail(line: string): string {
  const from = line.length - QUOTE_TAIL;
  return line.slice(isHighSurrogate(line.charCodeAt(from - 1)) ? from + 1 : from);
}

function isHighSurrogate(code: number): boolean {
  return code >= 0xd800 && code <= 0xdbff;
}
