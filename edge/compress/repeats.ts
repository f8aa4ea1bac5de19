/** Exact repeats of lines within a conversation, and the references that stand for them. Never reads a reference back. */
import { CodeBuffer } from './codes.ts';
import { HashIds } from './hash-ids.ts';
import { NO_QUOTE, quoteHash, quoteHashOf, quoteOf } from './quotes.ts';
import type { ReadText, Unit } from './units.ts';

/** What stands for a repeat is about 100 characters. */
const MIN_REPEAT_CHARS = 240;
const REFERENCE = '[same text as above: ';
const FEED = 0x0a;

/** A message that holds this, ours or an imitation, is left as it is: nobody has to tell them apart. */
export function holdsReference(text: string): boolean {
  return text.includes(REFERENCE);
}

/** A unit of the output; `reference` stands for a run of units. */
export type Written = Pick<Unit, 'text' | 'start'> & { readonly kind: Unit['kind'] | 'reference' };

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
const buffer = new CodeBuffer();

/** Lines of a conversation's output so far. */
export class RepeatIndex {
  /** What each line stands in, from where to where; null: the end of a message. */
  readonly #texts: (string | null)[] = [];
  readonly #starts: number[] = [];
  readonly #ends: number[] = [];
  /** By quote: where the line with it stands first, or AMBIGUOUS. */
  readonly #quotes = new HashIds();
  readonly #firsts: number[] = [];
  /** Quotes of earlier messages that this one made ambiguous, and where they stood. */
  readonly #spoilt: number[] = [];
  /** Lines of this message that stand above already: where, and where again. */
  readonly #met: number[] = [];
  #messageStart = 0;
  #quotesBefore = 0;

  /** Takes in a whole message as it will be sent. */
  add(content: string): void {
    this.#pushLines(content, buffer.load(content), 0);
    this.commit();
  }

  /** As `add`. false: `replace` may find repeats in it, and nothing is taken in. */
  addIfNew(content: string): boolean {
    this.#pushLines(content, buffer.load(content), 0);
    let isNew = true;
    for (let i = 0; i < this.#met.length && isNew; i += 2) {
      isNew = !this.#areEqual(this.#met[i] ?? 0, this.#met[i + 1] ?? 0);
    }
    if (isNew) this.commit();
    else this.rollBack();
    return isNew;
  }

  /** Lines from both places on, for as long as a reference stands for. */
  #areEqual(above: number, at: number): boolean {
    let chars = 0;
    for (let k = 0; chars < MIN_REPEAT_CHARS; k++) {
      const line = this.#lineAt(at + k);
      if (line === null || at + k >= this.#texts.length || this.#lineAt(above + k) !== line) return false;
      chars += line === '' ? 0 : line.length + 1;
    }
    return true;
  }

  /** Runs of whole lines that stand above already become references; `isFixed` units stay. Takes the result in. */
  replace({ units, codes }: ReadText, isFixed: (index: number) => boolean): Replaced {
    const written: Written[] = [];
    const origins: number[] = [];
    /** Index in `written` of each line of this message. */
    const unitOfLine: number[] = [];
    const sources = new Set<number>();
    let references = 0;
    const isFree = (i: number) => units[i] !== undefined && isReplaceable(units[i]) && !isFixed(i);
    for (let i = 0; i < units.length;) {
      const unit = units[i];
      if (unit === undefined) break;
      const hash = hashOf(unit, codes);
      const run = hash === NO_QUOTE ? null : this.#longestRun(units, i, { hash, isFree });
      if (run === null) {
        this.#pushUnit(unit, codes, hash);
        written.push(unit);
        origins.push(i++);
      } else {
        for (let k = 0; k < run.count; k++) {
          const source = unitOfLine[run.at + k - this.#messageStart];
          if (source !== undefined) sources.add(source);
        }
        const text = referenceTo(quoteOf(unit.text) ?? '', run.count);
        this.#push(text, [0, text.length], quoteHashOf(text));
        written.push({ kind: 'reference', text, start: unit.start });
        origins.push(i);
        references++;
        i += run.count;
      }
      while (unitOfLine.length < this.#texts.length - this.#messageStart) unitOfLine.push(written.length - 1);
    }
    return { units: written, origins, references, sources };
  }

  /** What `replace` took in stays. */
  commit(): void {
    this.#texts.push(null);
    this.#starts.push(0);
    this.#ends.push(0);
    this.#spoilt.length = 0;
    this.#met.length = 0;
    this.#messageStart = this.#texts.length;
    this.#quotesBefore = this.#quotes.size;
  }

  /** As before `replace`. */
  rollBack(): void {
    for (let i = 0; i < this.#spoilt.length; i += 2) this.#firsts[this.#spoilt[i] ?? 0] = this.#spoilt[i + 1] ?? 0;
    this.#spoilt.length = 0;
    this.#met.length = 0;
    this.#quotes.shrink(this.#quotesBefore);
    for (const lines of [this.#texts, this.#starts, this.#ends]) lines.length = this.#messageStart;
  }

  #pushUnit(unit: Unit, codes: Uint16Array, hash: number): void {
    const { kind, text, start, end } = unit;
    if (kind === 'prose' || kind === 'json' || text === '') this.#push(text, [0, text.length], hash);
    else if (text.length === end - start) this.#pushLines(text, codes, start);
    else this.#pushLines(text, buffer.load(text), 0);
  }

  /** `text` stands in `codes` from `base` on. */
  #pushLines(text: string, codes: Uint16Array, base: number): void {
    const end = base + text.length;
    for (let start = base, at = base; at <= end; at++) {
      if (at < end && codes[at] !== FEED) continue;
      this.#push(text, [start - base, at - base], quoteHash(codes, start, at));
      start = at + 1;
    }
  }

  #push(text: string, [start, end]: readonly [number, number], hash: number): void {
    const at = this.#texts.push(text) - 1;
    this.#starts.push(start);
    this.#ends.push(end);
    if (hash === NO_QUOTE) return;
    const known = this.#quotes.size;
    const id = this.#quotes.add(hash);
    if (id === known) {
      this.#firsts[id] = at;
      return;
    }
    const first = this.#firsts[id] ?? AMBIGUOUS;
    if (first === AMBIGUOUS) return;
    if (this.#lineAt(first) === this.#lineAt(at)) {
      this.#met.push(first, at);
      return;
    }
    if (id < this.#quotesBefore) this.#spoilt.push(id, first);
    this.#firsts[id] = AMBIGUOUS;
  }

  #lineAt(at: number): string | null {
    const text = this.#texts[at] ?? null;
    const start = this.#starts[at] ?? 0;
    const end = this.#ends[at] ?? 0;
    return text === null || (start === 0 && end === text.length) ? text : text.slice(start, end);
  }

  /** Units from `i` on that equal lines above, from the first line with that quote on; null where that saves too little. */
  #longestRun(
    units: readonly Unit[],
    i: number,
    { hash, isFree }: { readonly hash: number; readonly isFree: (index: number) => boolean },
  ): { readonly at: number; readonly count: number } | null {
    const id = this.#quotes.find(hash);
    if (id === null) return null;
    const first = units[i]?.text ?? '';
    const at = this.#firsts[id] ?? AMBIGUOUS;
    if (at === AMBIGUOUS || this.#lineAt(at) !== first || !isFree(i)) return null;
    let count = 1;
    let chars = first.length;
    for (let k = 1; at + k < this.#texts.length && isFree(i + k); k++) {
      const text = units[i + k]?.text ?? '';
      if (this.#lineAt(at + k) !== text) break;
      if (text === '') continue;
      chars += text.length + 1;
      count = k + 1;
    }
    return chars >= MIN_REPEAT_CHARS ? { at, count } : null;
  }
}

/** Of a unit of one line. */
function hashOf({ kind, text, start }: Unit, codes: Uint16Array): number {
  if (kind === 'prose') return quoteHash(codes, start, start + text.length);
  return kind === 'json' ? quoteHashOf(text) : NO_QUOTE;
}

/** Code and tables stay: whoever works on them needs them whole where they stand. */
function isReplaceable({ kind, text }: Unit): boolean {
  return (kind === 'prose' || kind === 'json' || kind === 'blank') && !text.startsWith(REFERENCE);
}

function referenceTo(quote: string, count: number): string {
  return `${REFERENCE}the ${count === 1 ? 'line' : `${count} lines from`} "${quote}"]`;
}
