/** Seeded sentences about made-up places: facts with their questions, and sentences that answer nothing. Knows no prompts. */
import { seeded } from '../../support/seeded.ts';

/** Choices that are the same in every run. */
export class Dice {
  /** Uniform in [0, 1). */
  readonly next: () => number;

  constructor(seed: number) {
    this.next = seeded(seed);
  }

  /** Both ends included. */
  between(min: number, max: number): number {
    return min + Math.floor(this.next() * (max - min + 1));
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.between(0, items.length - 1)];
    if (item === undefined) throw new Error('nothing to pick from');
    return item;
  }
}

/** How an answer's sentence speaks: in the question's words, in others, or of "it" beside a sentence that names it. */
export type Style = 'direct' | 'paraphrase' | 'pronoun';

export interface Fact {
  readonly style: Style;
  readonly question: string;
  /** The sentence that answers. */
  readonly answer: string;
}

const list = (words: string) => words.split(' ');
const THINGS = list('mill bridge library observatory lighthouse orchard brewery theatre ferry garden market chapel');
const PLACES = list(
  'Ashford Brenholm Calder Dunmere Elverton Farrow Glenwick Harlan Istead Juniper Kestrel Lorne Marrow',
);
const FIRST = list('Clara Edwin Maren Tobias Ilse Rufus Agnes Leon Petra Silas Wanda Oskar');
const LAST = list('Voss Hale Lindqvist Marsh Brandt Okafor Tillman Reyes Sorensen Ward Novak Ferrier');
const STUFF = list('slate copper thatch oak glass granite tin cedar');
const ADJECTIVES = list('old quiet narrow broad famous humble painted wooden northern sunny busy hidden small grand');
const NOUNS = list(
  'gate yard tower cellar stair window court path wall well stable kitchen hall roof lane pond meadow harbour workshop',
);
const VERBS = list('faces borders shelters overlooks joins frames shades guards crowns serves');
const TIMES = [
  ...['in the early morning', 'on market days', 'during the long winters', 'after the harvest', 'in the evening light'],
  ...['for most of the year', 'when the weather allows', 'since the days of the old town', 'as travellers often tell'],
];

export interface Thing {
  readonly name: string;
  readonly place: string;
}

export function thingOf(dice: Dice): Thing {
  return { name: dice.pick(THINGS), place: dice.pick(PLACES) };
}

export function factAbout(dice: Dice, { name, place }: Thing): Fact {
  const style = dice.pick<Style>(['direct', 'paraphrase', 'pronoun']);
  const person = `${dice.pick(FIRST)} ${dice.pick(LAST)}`;
  const [stuff, year] = [dice.pick(STUFF), dice.between(1650, 1990)];
  const it = `the ${name} of ${place}`;
  const facts: readonly (readonly [question: string, Readonly<Record<Style, string>>])[] = [
    [
      `Who founded ${it}?`,
      {
        direct: `The ${name} of ${place} was founded by ${person} in the hope of better trade.`,
        paraphrase: `${person} had set up the ${name} with the savings of a whole family.`,
        pronoun: `It was founded by ${person} after a long journey through the hills.`,
      },
    ],
    [
      `What is the roof of ${it} made of?`,
      {
        direct: `The roof of the ${name} is made of ${stuff} from a nearby village.`,
        paraphrase: `A cover of ${stuff} keeps the rain from the ${name} all year.`,
        pronoun: `Its roof is made of ${stuff} that shines after the rain.`,
      },
    ],
    [
      `In which year was ${it} opened?`,
      {
        direct: `The ${name} of ${place} was opened in ${year} with a feast.`,
        paraphrase: `The first guests entered the ${name} in ${year}.`,
        pronoun: `It was opened in ${year} with music and long speeches.`,
      },
    ],
    [
      `Who looks after ${it} today?`,
      {
        direct: `Today ${person} looks after the ${name} with a group of friends.`,
        paraphrase: `The present keeper of the ${name} is ${person} from the coast.`,
        pronoun: `${person} looks after it today with a group of friends.`,
      },
    ],
  ];
  const [question, answers] = dice.pick(facts);
  return { style, question, answer: answers[style] };
}

/** Names the thing, and answers nothing. */
export function introduction(dice: Dice, { name, place }: Thing): string {
  return `The ${name} of ${place} is a ${dice.pick(ADJECTIVES)} place near the ${dice.pick(NOUNS)}.`;
}

/** About a quarter has a number, a quote or a negation. */
export function filler(dice: Dice): string {
  const [a, b] = [dice.pick(ADJECTIVES), dice.pick(NOUNS)];
  const rest = `${dice.pick(VERBS)} the ${dice.pick(ADJECTIVES)} ${dice.pick(NOUNS)} ${dice.pick(TIMES)}`;
  const roll = dice.next();
  if (roll < 0.1)
    return `In ${dice.between(1700, 2000)} the ${a} ${b} was rebuilt for ${dice.between(2, 90)},000 crowns.`;
  if (roll < 0.17) return `The ${a} ${b} never ${rest}.`;
  if (roll < 0.24) return `"The ${b} ${rest}," a guide likes to say.`;
  if (roll < 0.5) return `Many people who come to ${dice.pick(PLACES)} say that the ${a} ${b} ${rest}.`;
  return `The ${a} ${b} ${rest}.`;
}

export function paragraph(dice: Dice, sentences: number): string {
  return Array.from({ length: sentences }, () => filler(dice)).join(' ');
}
