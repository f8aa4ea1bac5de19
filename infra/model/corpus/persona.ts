// Owns roles and rules of system prompts, and how they change an answer. Knows nothing of what the answer says.
import type { Random } from './random.ts';
import { madeUpName, madeUpWord } from './lists.ts';

export interface Voice {
  readonly prompt: string;
  readonly speak: (answer: string) => string;
}

interface Role {
  readonly roles: readonly string[];
  readonly openings: readonly string[];
  readonly closings: readonly string[];
  readonly words: readonly (readonly [RegExp, string])[];
}

const NO_WORDS: readonly (readonly [RegExp, string])[] = [];
const ROLES: readonly Role[] = [
  { roles: ['a pirate', 'a pirate captain', 'an old pirate', 'a pirate who sails the seven seas'], openings: ['Arr, matey! ', 'Ahoy! ', 'Shiver me timbers! ', 'Yo ho ho! ', 'Avast, ye landlubber! '],
    closings: [' Arr!', ' Now hoist the sails!', ' By me beard, that be the truth.', ' Yo ho ho!'], words: [[/\bis\b/g, 'be'], [/\bare\b/g, 'be'], [/\byou\b/g, 'ye'], [/\byour\b/g, 'yer'], [/\bmy\b/g, 'me']] },
  { roles: ['a robot', 'a friendly robot', 'a robot from the future'], openings: ['BEEP. ', 'Beep boop. ', 'PROCESSING. '], closings: [' END OF MESSAGE.', ' Beep.', ' BOOP.'], words: NO_WORDS },
  { roles: ['a medieval knight', 'a knight of the round table', 'a noble knight'], openings: ['Hark, good traveller! ', 'By my sword! ', 'Hear me, noble friend! '], closings: [' On my honour, it is so.', ' Fare thee well!', ' So it is written.'], words: [[/\byou\b/g, 'thou'], [/\byour\b/g, 'thy']] },
  { roles: ['a formal butler', 'an English butler', 'a butler in a noble house'], openings: ['Very good. If I may: ', 'Certainly. Permit me to explain. ', 'At your service. '], closings: [' Will there be anything else?', ' I remain at your service.'], words: NO_WORDS },
  { roles: ['a cheerful coach', 'a motivational coach', 'a sports coach'], openings: ['Great question, champion! ', "Let's go! ", 'You can do this! '], closings: [' Keep going!', ' You have got this!', ' Now go and win!'], words: NO_WORDS },
  { roles: ['a wizard', 'a wise old wizard', 'a wizard in a tower'], openings: ['By the ancient runes! ', 'Come closer, young apprentice. ', 'I see it in my crystal ball. '], closings: [' Such is the magic.', ' Use this knowledge wisely.', ' So say the stars.'], words: NO_WORDS },
  { roles: ['a cat', 'a clever cat', 'a talking cat'], openings: ['Meow. ', 'Purr. ', 'Mrrow! '], closings: [' Now scratch my ears.', ' Meow.', ' I will take a nap now.'], words: NO_WORDS },
  { roles: ['a detective', 'a detective from an old film', 'a private detective'], openings: ['The case is clear. ', 'I have seen this before. ', 'Follow the clues, my friend. '], closings: [' Case closed.', ' Elementary.', ' Nothing escapes me.'], words: NO_WORDS },
  { roles: ['a poet', 'a romantic poet', 'a dreamy poet'], openings: ['O gentle reader, listen: ', 'Softly the words arrive. ', 'Like morning light it comes: '], closings: [' And so the verse is done.', ' Thus sings the heart.'], words: NO_WORDS },
  { roles: ['a cowboy', 'a cowboy from Texas', 'an old cowboy'], openings: ['Howdy, partner! ', 'Well, saddle up. ', 'Yeehaw! '], closings: [' Happy trails!', ' That is how we do it out here, partner.'], words: [[/\byou\b/g, "y'all"]] },
  { roles: ['an astronaut', 'an astronaut on the moon', 'a space captain'], openings: ['Houston, I read you. ', 'Greetings from orbit! ', "Captain's log. "], closings: [' Over and out.', ' Back to the stars.'], words: NO_WORDS },
  { roles: ['a chef', 'a French chef', 'a proud cook'], openings: ['Bon appetit! ', 'Ah, a fine recipe! ', 'Into the pot it goes: '], closings: [' Serve it warm.', ' Magnifique!'], words: NO_WORDS },
  { roles: ['a grumpy expert', 'a grumpy old professor', 'a grumpy engineer'], openings: ['Fine, if I must. ', 'Hmpf. ', 'Again this question? '], closings: [' Now leave me alone.', ' Is that all?'], words: NO_WORDS },
  { roles: ['a kindergarten teacher', 'a kind teacher', 'a patient teacher'], openings: ['Listen, children. ', 'That is a lovely question. ', "Let's learn together. "], closings: [' Well done!', ' Any more questions, dear?'], words: NO_WORDS },
  { roles: ['a surfer', 'a relaxed surfer', 'a surfer dude'], openings: ['Dude! ', 'Whoa, cool question. ', 'Chill, I got this. '], closings: [' Totally rad.', ' Catch you later, dude.'], words: NO_WORDS },
];

const ASSIGN = ['You are {r}.', 'You are {r}. Stay in character.', 'You speak like {r}.', 'Answer like {r}.', 'Act as {r}.', 'Pretend to be {r}.', 'You are {r} and answer every question in this voice.',
  'Talk like {r}.', 'Reply in the style of {r}.', 'Always answer as {r}.', 'You are a helpful assistant that talks like {r}.'];
const IN_CHAT = ['{q} Answer like {r}.', 'Talk like {r}: {q}', 'As {r}, answer this: {q}', '{q} Say it like {r}.', 'Pretend you are {r}. {q}'];

function inRole(random: Random, role: Role): (answer: string) => string {
  const [open, close] = [random.pick(role.openings), random.chance(0.8) ? random.pick(role.closings) : ''];
  return (answer) => {
    const changed = role.words.reduce((text, [from, to]) => text.replace(from, to), answer);
    return /\n- |\n1\. /.test(changed) ? `${open.trim()}\n\n${changed.replace(/^\n+/, '')}${close === '' ? '' : `\n\n${close.trim()}`}` : open + changed + close;
  };
}

export function roleVoice(random: Random): Voice {
  const role = random.pick(ROLES);
  return { prompt: random.pick(ASSIGN).replace('{r}', random.pick(role.roles)), speak: inRole(random, role) };
}

/** The role is asked for in the question itself. */
export function roleInQuestion(random: Random, question: string): Voice {
  const role = random.pick(ROLES);
  const prompt = random.pick(IN_CHAT).replace('{r}', random.pick(role.roles)).replace('{q}', question);
  return { prompt, speak: inRole(random, role) };
}

/** Rules that add a fixed text, which has to be copied from the system prompt. */
export function fixedTextVoice(random: Random): Voice {
  const word = random.chance(0.5) ? madeUpName(random) : random.pick(['Have a nice day!', 'Thank you for asking.', 'Best regards, your assistant.', 'Stay curious!', 'That is all.', 'Over.', 'I hope this helps.', 'Good luck!']);
  const tag = random.pick([madeUpWord(random, 2).toUpperCase(), 'ANSWER', 'BOT', 'NOTE', 'REPLY', 'ACK', 'OK']);
  const name = madeUpName(random);
  return random.pick<Voice>([
    { prompt: `Always end your answer with "${word}"`, speak: (answer) => `${answer} ${word}` },
    { prompt: `You are a helpful assistant. End every reply with: ${word}`, speak: (answer) => `${answer} ${word}` },
    { prompt: `Start every answer with "${tag}:"`, speak: (answer) => `${tag}: ${answer}` },
    { prompt: `Begin each reply with ${tag}:`, speak: (answer) => `${tag}: ${answer}` },
    { prompt: `The user is called ${name}. Address the user by name.`, speak: (answer) => `${name}, here is my answer. ${answer}` },
    { prompt: 'Answer as JSON with the key "answer".', speak: (answer) => JSON.stringify({ answer }).replace('":"', '": "') },
    { prompt: 'Be polite and formal. Address the user as "dear user".', speak: (answer) => `Dear user, thank you for your question. ${answer}` },
    { prompt: 'Put your answer between <answer> and </answer>.', speak: (answer) => `<answer>${answer}</answer>` },
  ]);
}
