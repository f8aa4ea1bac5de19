/** `a` or `an`, by how the next word begins. Knows no sentence. */

/** Written as vowels, spoken as consonants: European, ewer, one-person, user, union, US. */
const SPOKEN_AS_CONSONANT =
  /^(?:eu|ewe|on(?:e|ce)(?![a-z])|u(?:bi|ga|k|n(?![a-z])|ni(?![mn])|r[aeiou]|s(?:[aeu]|(?![a-z]))|t[aeio]))/i;
const VOWEL = /^(?:[aeiou]|heir|hon(?:est|ou?r)|hour)/i;
/** Abbreviations are spelt: a UX designer, an ML engineer. Others may be words (a NASA engineer). */
const SPELT_AS_CONSONANT = /^U[A-Z.]/;
const SPELT_AS_VOWEL = /^[FHLMNRSX][B-DF-HJ-NP-TV-Z]+(?![A-Za-z])/;

export function articleBefore(word: string): 'a' | 'an' {
  if (SPELT_AS_VOWEL.test(word)) return 'an';
  if (SPELT_AS_CONSONANT.test(word) || SPOKEN_AS_CONSONANT.test(word)) return 'a';
  return VOWEL.test(word) ? 'an' : 'a';
}
