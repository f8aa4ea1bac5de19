/** What no compression may touch: code, tables, JSON values, and in prose the spans that `proseSpans` finds. Knows no conversation. */
import { scanJson } from './json.ts';
import { proseSpans, type ProseKind } from './prose-spans.ts';
import { readText, type ReadText, type Unit } from './units.ts';

/** Offsets in UTF-16 code units. */
export interface Span {
  readonly kind: ProseKind | 'code' | 'table' | 'json value';
  readonly start: number;
  readonly end: number;
}

/** In order, none within another. Each stands verbatim in a compressed message, or in the text a reference names. */
export function protectedSpans(text: string): readonly Span[] {
  const { units, codes } = readText(text);
  return units.flatMap((unit) => spansOf(codes, unit));
}

function spansOf(codes: ReadText['codes'], { kind, start, end, text: canonical, jsonAt }: Unit): readonly Span[] {
  if (jsonAt !== null) {
    const spans: Span[] = [];
    scanJson(codes, jsonAt, (from, to) => spans.push({ kind: 'json value', start: from, end: to }));
    return spans;
  }
  if (kind === 'code' || kind === 'table') return [{ kind, start, end }];
  if (kind !== 'prose') return [];
  return proseSpans(canonical).map((span) => {
    return { kind: span.kind, start: span.start + start, end: span.end + start };
  });
}
