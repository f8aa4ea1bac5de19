/** Exact repeats of lines within a conversation, and the references that stand for them. Never reads a reference back. */
import { LineIndex } from './line-index.ts';
import { hasQuote, NO_QUOTE, quoteHashOf, quoteOf } from './quotes.ts';
import { restsOf } from './rests.ts';
import type { ReadText, Unit } from './units.ts';
import type { Cut, Reference, Written } from './written.ts';

/** What stands for a repeat is about 100 characters. */
const MIN_REPEAT_CHARS = 240;
/** What must stand above of lines that were shortened: more than the longest reference. */
const MIN_KEPT_CHARS = 160;
const REFERENCE = '[same text as above: ';

/** A message that holds this, ours or an imitation, is left as it is: nobody has to tell them apart. */
export function holdsReference(text: string): boolean {
  return text.includes(REFERENCE);
}

export interface Replaced {
  readonly units: readonly Written[];
  /** Of each of `units`, the index that it had, or that its run began at. */
  readonly origins: readonly number[];
  readonly references: number;
  /** Indices of `units` that references of this message point at: they must stay whole. */
  readonly sources: ReadonlySet<number>;
  /** Hashes of the quotes that these references name: no other line above them may come to have one. */
  readonly named: ReadonlySet<number>;
}

/** Where runs may be. */
interface Search {
  readonly units: readonly Unit[];
  readonly isFree: (unit: number) => boolean;
  readonly cuts: ReadonlyMap<number, Cut>;
  /** Lines of this message that may not be sent after all. */
  readonly rests: ReadonlySet<number>;
}

/** Units that equal lines above. */
interface Run {
  /** The first of these lines. */
  readonly at: number;
  readonly lineCount: number;
  readonly unitCount: number;
  /** Those that were sent for longer lines, and the first unit that each stands for. */
  readonly cuts: readonly (readonly [cut: Cut, unit: number])[];
}

/** A conversation's output so far, with what its shortened lines were before. */
export class RepeatIndex {
  readonly #lines = new LineIndex();
  /** By line. */
  readonly #cuts = new Map<number, Cut>();
  /** By the quote of the line that begins a cut: where what was sent for it stands. */
  readonly #cutFrom = new Map<number, number>();

  /** Takes in a whole message as it will be sent. */
  add(content: string): void {
    this.#lines.addText(content);
    this.#lines.commit();
  }

  /** Takes in a whole message as it will be sent. */
  addUnits(units: readonly Written[], codes: Uint16Array): void {
    this.#takeIn(units, codes);
    this.#settle(units);
  }

  /** As `addUnits`. false: `replace` may find repeats in it when it is read again, and nothing is taken in. */
  addIfNew(units: readonly Written[], codes: Uint16Array): boolean {
    this.#takeIn(units, codes);
    const { met } = this.#lines;
    for (let i = 0; i < met.length; i += 2) {
      if (!this.#areEqual(met[i] ?? 0, met[i + 1] ?? 0)) continue;
      this.rollBack();
      return false;
    }
    this.#settle(units);
    return true;
  }

  /**
   * Runs of whole lines that stand above already, or did before these were shortened, become references; `isFixed` units
   * stay. Takes the result in.
   */
  replace(read: ReadText, isFixed: (index: number) => boolean): Replaced {
    return this.#replace(read, isFixed, this.#cuts);
  }

  /** As `replace`, of lines above as they stand alone. */
  replaceEqual(read: ReadText, isFixed: (index: number) => boolean): Replaced {
    return this.#replace(read, isFixed, NO_CUTS);
  }

  /** What `replace` took in stays. */
  commit({ units }: Pick<Replaced, 'units'>): void {
    this.#settle(units);
  }

  /** As before `replace`. */
  rollBack(): void {
    this.#lines.rollBack();
  }

  #replace({ units, codes }: ReadText, isFixed: (index: number) => boolean, cuts: Search['cuts']): Replaced {
    const written: Written[] = [];
    const origins: number[] = [];
    /** Index in `written` of each line of this message. */
    const unitOfLine: number[] = [];
    const sources = new Set<number>();
    const named = new Set<number>();
    let references = 0;
    const rests = new Set<number>();
    const isFree = (i: number) => units[i] !== undefined && isReplaceable(units[i]) && !isFixed(i);
    const search = { units, isFree, cuts, rests };
    for (let i = 0; i < units.length;) {
      const unit = units[i];
      if (unit === undefined) break;
      const at = unit.quote === NO_QUOTE || !isFree(i) ? null : this.#beginOf(unit, cuts);
      const run = at === null ? null : this.#longestRun(i, at, search);
      const first = written.length;
      if (run === null) {
        this.#lines.addUnit(unit, codes);
        written.push(unit);
      } else {
        for (let k = 0; k < run.lineCount; k++) {
          const source = unitOfLine[run.at + k - this.#lines.start];
          if (source !== undefined) sources.add(source);
        }
        named.add(quoteHashOf(this.#lines.lineAt(run.at) ?? ''));
        written.push(this.#referenceTo(run));
        for (const [cut, unitOfCut] of run.cuts) written.push(...restsOf(cut, units, unitOfCut));
        this.#lines.addLine(written[first]?.text ?? '');
        for (let k = first + 1; k < written.length; k++) {
          rests.add(this.#lines.size);
          this.#lines.addLine(written[k]?.text ?? '');
        }
        references++;
      }
      while (origins.length < written.length) origins.push(i);
      while (unitOfLine.length < this.#lines.size - this.#lines.start) unitOfLine.push(written.length - 1);
      i += run?.unitCount ?? 1;
    }
    return { units: written, origins, references, sources, named };
  }

  #takeIn(units: readonly Written[], codes: Uint16Array): void {
    for (const unit of units) {
      if (unit.kind === 'cut' || unit.kind === 'reference' || unit.kind === 'rest') this.#lines.addLine(unit.text);
      else this.#lines.addUnit(unit, codes);
    }
  }

  /** Ends the message: notes what its lines were, and what it told of others. */
  #settle(units: readonly Written[]): void {
    if (!units.some(({ kind }) => kind === 'cut' || kind === 'rest')) return this.#lines.commit();
    const rests = units.filter((unit) => unit.kind === 'rest');
    const told = new Set(rests.flatMap((rest) => rest.told));
    for (const cut of new Set(rests.map((rest) => rest.cut))) cut.left = cut.left.filter((left) => !told.has(left));
    let at = this.#lines.start;
    for (const unit of units) {
      if (unit.kind === 'cut') this.#noteCut(unit, at);
      at += unit.kind === 'code' || unit.kind === 'table' || unit.kind === 'blank' ? unit.text.split('\n').length : 1;
    }
    this.#lines.commit();
  }

  #noteCut(cut: Cut, at: number): void {
    this.#cuts.set(at, cut);
    if (cut.quote !== NO_QUOTE && !this.#cutFrom.has(cut.quote)) this.#cutFrom.set(cut.quote, at);
  }

  /** Lines from both places on, for as long as a reference stands for. */
  #areEqual(above: number, at: number): boolean {
    let chars = 0;
    for (let k = 0; chars < MIN_REPEAT_CHARS; k++) {
      const line = at + k < this.#lines.size ? this.#lines.lineAt(at + k) : null;
      if (line === null || this.#lines.lineAt(above + k) !== line) return false;
      chars += line === '' ? 0 : line.length + 1;
    }
    return true;
  }

  /** Units from `i` on that equal lines from `at` on; null where a reference to them saves too little. */
  #longestRun(i: number, at: number, { units, isFree, cuts: known, rests }: Search): Run | null {
    const cuts: (readonly [Cut, number])[] = [];
    let [lineCount, unitCount, chars, kept] = [0, 0, 0, 0];
    let unit = i;
    for (let line = at; line < this.#lines.size && !rests.has(line); line++) {
      const sent = this.#lines.lineAt(line);
      const cut = units[unit]?.text === sent ? undefined : known.get(line);
      const originals = cut?.originals ?? [sent];
      if (!originals.every((original, k) => isFree(unit + k) && units[unit + k]?.text === original)) break;
      if (cut !== undefined) cuts.push([cut, unit]);
      unit += originals.length;
      if (originals[0] === '') continue;
      for (const original of originals) chars += (original?.length ?? 0) + 1;
      for (const { start, end } of cut?.left ?? []) kept -= end - start;
      [lineCount, unitCount] = [line - at + 1, unit - i];
    }
    const isEnough = chars > MIN_REPEAT_CHARS && (cuts.length === 0 || chars + kept >= MIN_KEPT_CHARS);
    return isEnough ? { at, lineCount, unitCount, cuts } : null;
  }

  /** The line that was sent for this one, if a quote tells it from all others. */
  #beginOf({ text, quote }: Unit, cuts: Search['cuts']): number | null {
    const same = this.#lines.first(quote);
    if (same !== null && this.#lines.lineAt(same) === text) return hasQuote(text) ? same : null;
    const shortened = this.#cutFrom.get(quote);
    if (shortened === undefined || cuts.get(shortened)?.originals[0] !== text) return null;
    const sent = this.#lines.lineAt(shortened) ?? '';
    return hasQuote(sent) && this.#lines.first(quoteHashOf(sent)) === shortened ? shortened : null;
  }

  #referenceTo({ at, lineCount, cuts }: Run): Reference {
    const quote = quoteOf(this.#lines.lineAt(at) ?? '') ?? '';
    const lines = `${REFERENCE}the ${lineCount === 1 ? 'line' : `${lineCount} lines from`} "${quote}"`;
    const alone = `${lines}]`;
    const text = cuts.every(([{ left }]) => left.length === 0) ? alone : `${lines}, and:]`;
    return { kind: 'reference', text, alone };
  }
}

const NO_CUTS: Search['cuts'] = new Map();

/** Code and tables stay: whoever works on them needs them whole where they stand. */
function isReplaceable({ kind, text }: Unit): boolean {
  return (kind === 'prose' || kind === 'json' || kind === 'blank') && !text.startsWith(REFERENCE);
}
