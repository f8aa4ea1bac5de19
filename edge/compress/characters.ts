/** UTF-16 code units → what kind of character they are, by one table; and words → numbers. Knows no word list. */

export const OTHER = 0;
export const BLANK = 1;
export const LOWER = 2;
export const UPPER = 3;
export const DIGIT = 4;
export const IDEOGRAPH = 5;
/** Between letters it does not end a word. */
export const JOINT = 6;
/** Ends sentences. */
export const ENDING = 7;
export const HANGUL = 8;

const RANGES: readonly (readonly [kind: number, first: number, last: number])[] = [
  // Beyond ASCII all are letters but blanks, punctuation, symbols and what follows below; case is not told there.
  [LOWER, 0xc0, 0x1fff],
  [LOWER, 0x2c00, 0x2e7f],
  // Scripts written without blanks, and their punctuation: each character counts for itself.
  [IDEOGRAPH, 0x2e80, 0x9fff],
  [LOWER, 0xa000, 0xabff],
  [HANGUL, 0xac00, 0xd7ff],
  // Pairs: emoji and rare scripts, lone or not.
  [LOWER, 0xd800, 0xdfff],
  [LOWER, 0xf900, 0xfeff],
  [LOWER, 0xff21, 0xff3a],
  [LOWER, 0xff41, 0xff5a],
  [LOWER, 0x61, 0x7a],
  [UPPER, 0x41, 0x5a],
  ...[0x30, 0x660, 0x6f0, 0x966, 0xff10].map((zero) => [DIGIT, zero, zero + 9] as const),
];
const SINGLES: readonly (readonly [kind: number, characters: string])[] = [
  [BLANK, ' \t\r'],
  [DIGIT, '²³¹¼½¾'],
  [JOINT, "'’_@\\:"],
  [ENDING, '.!?؟۔।。！？'],
];

/** A number for each code unit, by its kind. */
export function tableOf(numberOf: (kind: number) => number): Uint8Array {
  const table = new Uint8Array(0x10000).fill(numberOf(OTHER));
  for (const [kind, first, last] of RANGES) table.fill(numberOf(kind), first, last + 1);
  for (const [kind, characters] of SINGLES) {
    for (const character of characters) table[character.charCodeAt(0)] = numberOf(kind);
  }
  return table;
}

export const KINDS = tableOf((kind) => kind);

/** `code`: of a UTF-16 code unit, never NaN. */
export function kindOf(code: number): number {
  return KINDS[code] ?? OTHER;
}

/** Of the character at `at`; OTHER outside the text. */
export function kindAt(text: string, at: number): number {
  return at >= 0 && at < text.length ? kindOf(text.charCodeAt(at)) : OTHER;
}

export function isLetter(kind: number): boolean {
  return kind === LOWER || kind === UPPER || kind === HANGUL;
}

/** Words are cut to so many characters: inflected forms fall together, in most languages. */
export const STEM_CHARS = 6;
const MIXER = 0x9e3779b1;

/** A number for a word's first STEM_CHARS, never 0: that of no other word if all are ASCII letters, whose case is lost. */
export function stemOf(word: string): number {
  let stem = 0;
  const end = Math.min(word.length, STEM_CHARS);
  for (let i = 0; i < end; i++) stem = foldStem(stem, word.charCodeAt(i));
  return stem || 1;
}

/** Five bits for a letter; other characters are mixed in, case lost in Latin-1 and most of Cyrillic. */
export function foldStem(stem: number, code: number): number {
  const folded = (stem << 5) ^ (code & 0x1f);
  return (code & ~0x3f) === 0x40 ? folded : folded ^ Math.imul(code | 0x20, MIXER);
}
