/** What a reference to shortened lines leaves out, told after it. Knows no index. */
import { utf8Bytes } from './codes.ts';
import type { Unit } from './units.ts';
import type { Cut, Rest, Written } from './written.ts';

/** Neighbouring sentences are one rest. `first`: the unit that stands where the cut's originals began. */
export function restsOf(cut: Cut, units: readonly Unit[], first: number): readonly Rest[] {
  const rests: Rest[] = [];
  for (const left of cut.left) {
    const { text, start } = units[first + left.line] ?? { text: '', start: 0 };
    const before = rests.at(-1);
    const last = before?.told.at(-1);
    const areNeighbours = last?.line === left.line && text.slice(last.end, left.start).trim() === '';
    if (before !== undefined && areNeighbours) {
      const told = [...before.told, left];
      rests[rests.length - 1] = { ...before, text: text.slice(before.start - start, left.end), told };
    } else {
      rests.push({
        kind: 'rest',
        text: text.slice(left.start, left.end),
        start: start + left.start,
        cut,
        told: [left],
      });
    }
  }
  return rests;
}

export interface Affordable {
  readonly units: readonly Written[];
  /** Of what is told, in UTF-8 bytes. */
  readonly bytes: number;
}

/** Rests are told, the first ones first, for at most so many bytes: what shortening saved pays for them. */
export function affordable(units: readonly Written[], allowance: number): Affordable {
  if (!units.some(({ kind }) => kind === 'rest')) return { units, bytes: 0 };
  const kept: Written[] = [];
  let bytes = 0;
  for (const unit of units) {
    const before = kept.at(-1);
    // With its line feed, and what makes the reference before it longer.
    const more = before?.kind === 'reference' ? before.text.length - before.alone.length : 0;
    const cost = unit.kind === 'rest' ? utf8Bytes(unit.text) + 1 + more : 0;
    if (bytes + cost > allowance) continue;
    bytes += cost;
    kept.push(unit);
  }
  return { units: kept.map(aloneIfSo), bytes };
}

/** A reference says that more follows only if it does. */
function aloneIfSo(unit: Written, i: number, written: readonly Written[]): Written {
  return unit.kind === 'reference' && written[i + 1]?.kind !== 'rest' ? { ...unit, text: unit.alone } : unit;
}
