/** Compressed messages → what they say with every reference replaced by the lines that it names. Knows the references' wording, not how they are found. */
import { holdsReference } from '../../../edge/compress/repeats.ts';
import type { ChatMessage } from '../../../shared/protocol.ts';

const REFERENCE = /^\[same text as above: the (?:line|(\d+) lines from) "(.*)"(?:, and:)?\]$/su;
const BETWEEN = ' … ';
/** Characters; longer lines are called by their begin and end. */
const LONGEST_SHORT = 60;

/** Contents, in order. `originals` tell which references are ours. Throws if one names no line above, or two. */
export function expand(compressed: readonly ChatMessage[], originals: readonly ChatMessage[]): readonly string[] {
  const above: string[][] = [];
  return compressed.map(({ content }, i) => {
    const isOurs = !holdsReference(originals[i]?.content ?? '');
    const [seen, expanded]: [string[], string[]] = [[], []];
    above.push(seen);
    for (const line of content.split('\n')) {
      const [, count = '1', quote] = (isOurs ? REFERENCE.exec(line) : null) ?? [];
      if (quote === undefined) expanded.push(line);
      else expanded.push(...linesNamed(above, quote, Number(count)));
      seen.push(line);
    }
    return expanded.join('\n');
  });
}

/** From the first line so called on; all lines so called must be equal. */
function linesNamed(above: readonly (readonly string[])[], quote: string, count: number): readonly string[] {
  const found = above.flatMap((lines) =>
    lines.flatMap((line, at) => (isCalled(line, quote) ? [lines.slice(at, at + count)] : [])),
  );
  const [first] = found;
  if (first === undefined || first.length < count) throw new Error(`nothing above is called "${quote}"`);
  if (found.some(([line]) => line !== first[0])) throw new Error(`"${quote}" is said of two lines`);
  return first;
}

/** By its whole text or, of a long line, by how it begins and ends, wherever a mark in the quote may stand for its middle. */
function isCalled(line: string, quote: string): boolean {
  if (line === quote) return true;
  if (line.length <= LONGEST_SHORT) return false;
  for (let at = quote.indexOf(BETWEEN); at >= 0; at = quote.indexOf(BETWEEN, at + 1)) {
    if (line.startsWith(quote.slice(0, at)) && line.endsWith(quote.slice(at + BETWEEN.length))) return true;
  }
  return false;
}
