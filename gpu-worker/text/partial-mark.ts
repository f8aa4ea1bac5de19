/** Streamed text that may still become a mark. Pure. */

/** Length of the longest end of `text` that begins `mark` without being all of it. */
export function partialMark(text: string, mark: string): number {
  for (let length = Math.min(mark.length - 1, text.length); length > 0; length--) {
    if (text.endsWith(mark.slice(0, length))) return length;
  }
  return 0;
}
