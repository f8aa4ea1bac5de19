// Owns the story and verse grammars. Knows nothing of the field.
import type { Random } from './random.ts';
import { type Example, assistant, user } from './example.ts';
import { madeUpName, readList } from './lists.ts';
import { typed } from './typing.ts';

const HEROES = readList('heroes');
const PLACES = readList('places');
const NAMES = readList('first-names');

const WISHES = ['to see the other side of the hills', 'to find out where the music came from', 'to mend the broken bell', 'to learn the secret of the old map',
  'to bring light back to the harbour', 'to find a friend', 'to hear the stars sing', 'to build a machine that could remember', 'to return a lost letter',
  'to know what the river whispered at night', 'to win the race of lanterns', 'to find the missing key', 'to grow a flower that never fades', 'to be brave just once'];
const TROUBLES = ['But a storm came up and covered the path with branches.', 'But the bridge had fallen, and the water was deep and cold.',
  'But the gate was locked, and nobody knew where the key was.', 'But night fell, and every road looked the same.', 'But the others laughed and said that it could not be done.',
  'But a thick fog rolled in and swallowed every sound.', 'But the map was wrong, and the trail ended at a wall of rock.', 'But the wind grew so strong that even the birds turned back.'];
const HELPERS = ['an old heron', 'a child with a lantern', 'a tired traveller', 'a blind carpenter', 'a grey cat', 'a talkative crow', 'a woman who sold clocks',
  'a very small frog', 'a retired sailor', 'a boy with a kite', 'a turtle', 'a quiet stranger'];
const ADVICE = ['Go slowly and listen', 'The short way is the long way', 'Ask the one who is most afraid', 'Begin with the smallest stone', 'What you carry is what you need',
  'Wait until the moon is up', 'Share your bread and you will not be alone', 'Look behind you before you look ahead'];
const TURNS = ['So {he} tried again, one small step at a time.', 'So {he} sat down, thought for a while, and saw what everyone had missed.',
  'So {he} followed the advice, although {his} heart was beating fast.', 'So the two of them went on together, and the way felt half as long.'];
const ENDS = ['By morning the work was done, and the whole town came to look.', 'At last the door opened, and warm light fell on the snow.',
  'When the sun rose, everything was where it belonged.', 'And in the end what {he} had looked for was much closer to home than anyone had thought.',
  'From that day on nobody laughed any more.', 'That night the bells rang, and {he} smiled.'];
const MORALS = ['Sometimes a small courage is enough.', 'Patience opens more doors than force.', 'Nobody is too small to help.', 'The best journeys end with a friend.',
  'And if you walk there on a quiet evening, you can still hear the story.', 'Since then, the people there tell this story to every guest.'];

interface Hero {
  readonly phrase: string;
  readonly noun: string;
  readonly name: string;
}

function makeHero(random: Random, phrase: string): Hero {
  const name = random.chance(0.75) ? random.pick(NAMES) : madeUpName(random);
  return { phrase, noun: phrase.replace(/^(a|an) /, ''), name };
}

const say = (random: Random, lines: readonly string[], name: string): string =>
  random.pick(lines).replaceAll('{he}', name).replaceAll('{his}', `${name}'s`);

function beginning(random: Random, hero: Hero): string {
  const place = random.pick(PLACES);
  const wish = random.pick(WISHES);
  return random.pick([
    `Once upon a time, ${place}, there lived ${hero.phrase} named ${hero.name}. More than anything, ${hero.name} wanted ${wish}.`,
    `${hero.name} was ${hero.phrase} who lived ${place}. All year long ${hero.name} had only one wish: ${wish}.`,
    `There was once ${hero.phrase} called ${hero.name}, ${place}. One morning ${hero.name} decided ${wish}.`,
  ]);
}

function storyText(random: Random, hero: Hero, long: boolean): string {
  const helper = random.pick(HELPERS);
  const parts = [
    beginning(random, hero),
    `${random.pick(['So one day the journey began.', 'Early next day, the little adventure began.', 'The way was long, but the sky was clear.'])} ${random.pick(TROUBLES)}`,
    `There ${hero.name} met ${helper}. "${random.pick(ADVICE)}," said ${helper.replace(/^(an|a) /, 'the ')}. ${say(random, TURNS, hero.name)}`,
  ];
  if (long) parts.push(`${random.pick(TROUBLES).replace('But', 'Then')} This time ${hero.name} was not afraid. "${random.pick(ADVICE)}," ${hero.name} remembered, and went on.`);
  parts.push(`${say(random, ENDS, hero.name)} ${random.pick(MORALS)}`);
  return parts.join('\n\n');
}

const tinyStory = (random: Random, hero: Hero): string =>
  `${hero.name} was ${hero.phrase} who wanted ${random.pick(WISHES)}. ${say(random, ENDS, hero.name)}`;

export function storyAbout(random: Random, phrase: string): string {
  return storyText(random, makeHero(random, phrase), random.chance(0.25));
}

const ASK = ['Tell me a story.', 'Tell me a short story.', 'Write a short story.', 'Can you tell me a story?', 'I would like to hear a story.', 'Tell me a bedtime story.',
  'Make up a story for me.', 'Please write a little story.', 'Write me a fairy tale.'];
const ASK_ABOUT = ['Tell me a short story about {x}.', 'Write a story about {x}.', 'Can you tell me a story about {x}?', 'Make up a story about {x}.',
  'I want a bedtime story about {x}.', 'Write a short tale about {x}.', 'Please tell a story with {x} in it.'];

export function story(random: Random): Example {
  const phrase = random.chance(0.85) ? random.pick(HEROES) : `a ${madeUpName(random).toLowerCase()}`;
  const hero = makeHero(random, phrase);
  const shape = random.between(0, 9);
  if (shape < 3) return { kind: 'story', messages: [user(typed(random, random.pick(ASK))), assistant(storyText(random, hero, false))] };
  const about = random.pick(ASK_ABOUT).replace('{x}', shape === 9 ? `${hero.phrase} named ${hero.name}` : hero.phrase);
  if (shape === 3) return { kind: 'story', messages: [user(`${about} Use two sentences.`), assistant(tinyStory(random, hero))] };
  if (shape === 4) return { kind: 'story', messages: [user(`${about} Make it long.`), assistant(storyText(random, hero, true))] };
  return { kind: 'story', messages: [user(typed(random, about)), assistant(storyText(random, hero, random.chance(0.15)))] };
}

const COUPLETS: Record<string, readonly string[]> = {
  night: ['The fans are humming through the night,\nthe racks are blinking green and bright;', 'A lamp still burns in quiet light,\nthe tokens travel through the night;'],
  stream: ['A prompt flows in, a gentle stream,\nand words come out as from a dream;', 'The river turns the wheel downstream,\nand carries off the miller\'s dream;'],
  day: ['They work in batches all the day\nand never lose a word to say;', 'The clouds above are drifting grey,\nthe morning slowly finds its way;'],
  end: ['and when the final token\'s sent,\nthe world is quiet and content.', 'so rest, dear reader, close your eyes,\nand wait until the sun will rise.', 'and every line that comes to end\nis like a letter from a friend.'],
};

export function poem(random: Random): Example {
  const subject = random.pick(['the sea', 'a GPU', 'tokens', 'the night', 'a river', 'servers', 'autumn', 'the moon', 'machines', 'language models', 'a mill', 'the rain', 'spring', 'work']);
  const asks = ['Write a poem about {x}.', 'Write a short poem about {x}.', 'Can you write a poem about {x}?', 'Make a rhyme about {x}.', 'Write a poem.'];
  const keys = random.sample(['night', 'stream', 'day'], random.between(1, 3));
  const lines = [...keys, 'end'].map((key) => random.pick(COUPLETS[key] ?? ['']));
  const title = `${subject.charAt(0).toUpperCase()}${subject.slice(1)}`;
  return { kind: 'poem', messages: [user(typed(random, random.pick(asks).replace('{x}', subject))), assistant(`${title}\n\n${lines.join('\n')}`)] };
}
