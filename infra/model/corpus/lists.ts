// Owns the word lists that fill templates. Knows nothing of who uses them.
import { readFileSync } from 'node:fs';
import type { Random } from './random.ts';

/** Entries are separated by semicolons or line ends. */
export function readList(name: string): readonly string[] {
  const text = readFileSync(new URL(`./lists/${name}.txt`, import.meta.url), 'utf8');
  const items = text
    .split(/[;\n]/)
    .map((item) => item.trim())
    .filter((item) => item !== '');
  if (items.length === 0) throw new Error(`word list ${name} is empty`);
  return items;
}

const ONSETS = ['b', 'br', 'd', 'dr', 'f', 'fl', 'g', 'gr', 'h', 'j', 'k', 'kl', 'l', 'm', 'n', 'p', 'pl', 'qu', 'r', 's', 'st', 't', 'tr', 'v', 'w', 'z', 'sh', 'ch'];
const VOWELS = ['a', 'e', 'i', 'o', 'u', 'ai', 'ea', 'oo', 'io'];
const CODAS = ['', '', 'n', 'r', 'l', 's', 'm', 'x', 'th', 'nd', 'rk', 'lo', 'sa'];

/** A word that nobody has seen before: copying it cannot be done from memory. */
export function madeUpWord(random: Random, syllables: number): string {
  let word = '';
  for (let i = 0; i < syllables; i++) word += random.pick(ONSETS) + random.pick(VOWELS) + (i === syllables - 1 ? random.pick(CODAS) : '');
  return word;
}

export function madeUpName(random: Random): string {
  const word = madeUpWord(random, random.between(1, 3));
  return word.charAt(0).toUpperCase() + word.slice(1);
}

export function code(random: Random): string {
  const letters = 'ABCDEFGHJKLMNPQRSTUVWXYZ';
  const prefix = Array.from({ length: random.between(1, 3) }, () => random.pick([...letters])).join('');
  return `${prefix}${random.pick(['-', '', '-'])}${random.between(10, 99999)}`;
}
