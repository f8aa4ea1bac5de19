/** Units without the sentences that were dropped, and with gaps where these stood. Knows no scores. */
import { NO_QUOTE } from './quotes.ts';
import type { CutLine, Left, Rest, Written } from './written.ts';

/** Stands for each run of dropped sentences, with blanks or line ends around it. */
export const GAP = '…';
const STANDS_ALONE = /(?:^|\s)…(?:\s|$)/;
const OUTER_GAPS = /^… ?| ?…$/g;

/** A text with a gap, ours or not, is not shortened (again). */
export function holdsGap(text: string): boolean {
  return text.includes(GAP) && STANDS_ALONE.test(text);
}

/** Sentences of all units in order, in columns. */
export interface Sentences {
  /** Index of the unit that each stands in, and from where to where. */
  readonly units: Int32Array;
  readonly starts: Int32Array;
  readonly ends: Int32Array;
  /** 1: it goes. */
  readonly isDropped: Uint8Array;
}

/** Indices of sentences. */
type Range = readonly [first: number, end: number];
type OpenCut = CutLine & { readonly originals: string[]; left: Left[] };

export function withGaps(units: readonly Written[], sentences: Sentences): readonly Written[] {
  const written: Written[] = [];
  let blanks = 0;
  let end = 0;
  /** The last line, if it ends in a gap. */
  let open: OpenCut | null = null;
  for (let i = 0; i < units.length; i++) {
    const unit = units[i];
    if (unit === undefined || unit.kind === 'blank') {
      blanks++;
      continue;
    }
    const first = end;
    let dropped = 0;
    for (; end < sentences.isDropped.length && sentences.units[end] === i; end++) {
      dropped += sentences.isDropped[end] ?? 0;
    }
    const changed = dropped === 0 ? null : without(unit, sentences, [first, end]);
    const cut = changed?.kind === 'cut' ? changed : null;
    if (open !== null && cut?.text === GAP) {
      merge(open, cut, blanks);
    } else if (dropped === 0 || changed !== null) {
      for (let k = i - blanks; k < i; k++) written.push(units[k] ?? unit);
      written.push(changed ?? unit);
      open = cut?.text.endsWith(GAP) === true ? cut : null;
    }
    blanks = 0;
  }
  return [...written, ...units.slice(units.length - blanks)];
}

/** A line that is all gap, after a gap: one gap is enough. */
function merge({ originals, left }: OpenCut, line: OpenCut, blanks: number): void {
  for (let k = 0; k < blanks; k++) originals.push('');
  for (const { start, end } of line.left) left.push({ line: originals.length, start, end });
  originals.push(...line.originals);
}

/** null: of a rest, nothing is left. */
function without(unit: Written, sentences: Sentences, range: Range): OpenCut | Rest | null {
  const text = gapped(unit.text, sentences, range);
  if (unit.kind === 'rest') {
    if (text === GAP) return null;
    const told = unit.told.filter((_, i) => sentences.isDropped[range[0] + i] !== 1);
    return { ...unit, text: text.replace(OUTER_GAPS, ''), told };
  }
  const left: Left[] = [];
  for (let i = range[0]; i < range[1]; i++) {
    if (sentences.isDropped[i] !== 1) continue;
    left.push({ line: 0, start: sentences.starts[i] ?? 0, end: sentences.ends[i] ?? 0 });
  }
  return { kind: 'cut', text, originals: [unit.text], quote: unit.kind === 'prose' ? unit.quote : NO_QUOTE, left };
}

/** The sentences are all of the line but blanks between them. */
function gapped(text: string, { starts, ends, isDropped }: Sentences, [first, last]: Range): string {
  let kept = '';
  let at = 0;
  let isAll = true;
  for (let i = first; i < last; i++) {
    if (isDropped[i] !== 1) {
      isAll = false;
      continue;
    }
    if (i === first || isDropped[i - 1] !== 1) {
      const start = starts[i] ?? 0;
      const isApart = start === 0 || isSpace(text.charCodeAt(start - 1));
      kept += isApart ? text.slice(at, start) + GAP : `${text.slice(at, start)} ${GAP}`;
    }
    at = ends[i] ?? text.length;
  }
  if (isAll) return GAP;
  const rest = text.slice(at);
  return rest === '' || isSpace(rest.charCodeAt(0)) ? kept + rest : `${kept} ${rest}`;
}

/** Those that stand between sentences. */
function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x09 || code === 0x0d;
}
