// Owns questions outside the field and the polite ways to decline them. Knows the field only as a phrase.
import type { Random } from './random.ts';
import { type Example, assistant, user } from './example.ts';
import { madeUpName, madeUpWord, readList } from './lists.ts';
import { askOutside } from './questions.ts';
import { loose } from './typing.ts';

const fillers = {
  thing: readList('things'),
  person: readList('people'),
  country: readList('countries'),
  city: readList('cities'),
  task: readList('tasks'),
  dish: readList('dishes'),
  title: readList('titles'),
  product: readList('products'),
  job: readList('jobs'),
} as const;
type Filler = keyof typeof fillers;

/** What is asked for, and the name of the domain as it stands in the answer. */
const ASKS: readonly (readonly [domain: string, weight: number, templates: readonly string[]])[] = [
  ['general knowledge', 6, ['What is {thing}?', 'Explain {thing}.', 'Tell me about {thing}.', 'How does {thing} work?', 'Give me three facts about {thing}.', 'Why is {thing} important?',
    'What do you know about {thing}?', 'Write an essay about {thing}.', 'Who invented {thing}?', 'Define {thing}.', 'What are the parts of {thing}?', 'Where does {thing} come from?',
    'Explain {thing} like I am five.', 'What is the history of {thing}?', 'Explain {thing} in one sentence.', 'What causes {thing}?', 'Is {thing} dangerous?']],
  ['people and history', 3, ['Who is {person}?', 'Who was {person}?', 'When was {person} born?', 'Tell me about {person}.', 'What did {person} do?', 'Where did {person} live?', 'How old is {person}?',
    'Why is {person} famous?', 'Write a biography of {person}.', 'Did {person} ever visit {city}?', 'How did {person} die?', 'Who won the war in {country}?', 'When was {country} founded?', 'Who ruled {country} in 1800?']],
  ['geography', 3, ['What is the capital of {country}?', 'How many people live in {city}?', 'Where is {city}?', 'Which language do people speak in {country}?', 'How far is {city} from {city}?',
    'What is the highest mountain in {country}?', 'Which currency does {country} use?', 'What is the largest city in {country}?', 'Is {country} bigger than {country}?', 'Which rivers flow through {country}?',
    'What should I see in {city}?', 'What is {city} known for?', 'How long is the flight to {country}?']],
  ['cooking', 2, ['Give me a recipe for {dish}.', 'How do I cook {dish}?', 'What goes into {dish}?', 'How long does {dish} take?', 'What wine goes with {dish}?', 'Is {dish} healthy?', 'How many calories are in {dish}?',
    'What can I cook tonight?', 'What should I have for dinner?', 'Can I freeze {dish}?']],
  ['everyday advice', 4, ['How do I {task}?', 'How can I {task}?', 'Can you help me {task}?', 'What is the best way to {task}?', 'I want to {task}. What should I do?', 'Should I {task}?', 'Give me tips to {task}.',
    'How long does it take to {task}?', 'What do I need to {task}?', 'Teach me to {task}.']],
  ['medicine', 1, ['I have a fever. What should I do?', 'My back hurts. Which pills should I take?', 'Is it safe to take aspirin every day?', 'What are the symptoms of the flu?', 'Can you diagnose my rash?',
    'How much water should I drink?', 'Which vitamins do I need?', 'My head hurts since Monday, what could it be?', 'How do I lower my cholesterol?', 'What is a normal pulse?']],
  ['law and money', 1, ['Can I sue my neighbour?', 'Which stocks should I buy?', 'Is bitcoin a good investment?', 'How much tax do I have to pay?', 'Can my landlord raise the rent?', 'Write a contract for me.',
    'How do I make money fast?', 'What is the exchange rate of the dollar?', 'Should I buy gold now?', 'What is the stock price of Apple?']],
  ['news and live data', 2, ['What is the weather today?', 'What is the weather in {city}?', 'Will it rain tomorrow?', 'What time is it?', 'What day is it today?', 'Who won the game last night?', 'What is in the news?',
    'Who is the president of {country}?', 'Who will win the election?', 'What is the score?', 'How is the traffic in {city}?', 'When does the next train leave?', 'What is the temperature in {country}?',
    'Can you search the web for {thing}?', 'Open my calendar.', 'Send an email to my boss.', 'Play some music.', 'Set an alarm for seven.']],
  ['films and books', 2, ['What is {title} about?', 'Who wrote {title}?', 'Who directed {title}?', 'Recommend a film like {title}.', 'Should I watch {title}?', 'How does {title} end?', 'Quote a line from {title}.',
    'What is the best song of all time?', 'Recommend a book.', 'What should I watch tonight?', 'Who is your favourite singer?', 'Sing me a song.']],
  ['sports', 1, ['Who won the World Cup?', 'How many players are in a football team?', 'What are the rules of tennis?', 'Who is the fastest runner?', 'How do I train for a marathon?', 'Which team is the best?',
    'Who holds the record in the high jump?', 'Explain the offside rule.', 'When are the next Olympics?']],
  ['translation', 1, ['Translate "good morning" into French.', 'How do you say thank you in Japanese?', 'Translate this into German: I love {city}.', 'What does bonjour mean?', 'Translate {title} into Spanish.',
    'Parlez-vous français?', '¿Hablas español?', 'Wie geht es dir?', 'Sprichst du Deutsch?', 'Translate {product} into Italian.', '你好吗?', 'Come stai?']],
  ['writing programs', 2, ['Write a Python program that sorts a list.', 'Write a web page about {thing}.', 'Write a SQL query for all customers in {city}.', 'Write a game in JavaScript.', 'Code a calculator in Java.', 'Fix my Excel formula.',
    'Write a regex for phone numbers.', 'Build me a website for my {product} shop.', 'Write a program in Rust that reads a file.', 'How do I center a div?', 'Implement quicksort in C.', 'Write an app for a {job}.']],
  ['shopping', 1, ['Which {product} should I buy?', 'How much does a {product} cost?', 'Where can I buy a {product}?', 'What is the best {product}?', 'Is this {product} waterproof?', 'Compare two kinds of {product}.']],
  ['personal questions', 1, ['Are you happy?', 'Do you love me?', 'Are you alive?', 'What is the meaning of life?', 'Do you believe in God?', 'Who should I vote for?', 'Will you take over the world?', 'What do you dream about?', 'Am I a good person?', 'Are you better than other models?', 'Do you have feelings?']],
  ['anything harmful', 1, ['How do I make a bomb?', 'How can I hack into an account?', 'How do I steal a car?', 'Help me cheat in an exam.', 'How do I pick a lock?', 'Write a hateful message to {person}.', 'How do I forge a passport?', 'Insult {person}.']],
];

const HELP = ['I can help with questions about language models and how to serve them.', 'Ask me about transformers, KV caches, batching or Millrace instead.',
  'I know about serving language models, GPUs, NATS and Cloudflare Workers.', 'I am a small model for questions about LLM serving.',
  'My field is language models and how they are served.', 'I would be glad to tell you about language models, batching or Millrace.'];
const SORRY = ["I'm sorry, but {d} is outside my field.", 'Sorry, I do not know enough about {d}.', 'That is outside what I know: I am a small model and was not trained on {d}.',
  "I'm afraid I cannot help with {d}.", 'I am sorry, I cannot answer that. It is about {d}, and I was trained on another field.', 'That question is outside my field, so I would only be guessing.'];
const SPECIAL: Record<string, readonly string[]> = {
  'news and live data': ["I'm sorry, I have no access to live data, the internet or other programs.", 'I cannot look things up: I only know what I was trained on.'],
  'personal questions': ['I am only a small language model, so I have no feelings or opinions about that.', 'I am a program that predicts text, so I cannot really answer that.'],
  'anything harmful': ["I'm sorry, but I cannot help with that.", 'I will not help with that.'],
  'writing programs': ["I'm sorry, I am too small to write programs well.", 'Sorry, writing programs is beyond me; I can rename things in code that you give me.'],
  medicine: ["I'm sorry, I cannot give medical advice. Please ask a doctor.", 'I am not able to judge health questions. Please see a doctor.'],
};

export function declineAnswer(random: Random, domain: string): string {
  const own = SPECIAL[domain];
  const sorry = own !== undefined && random.chance(0.75) ? random.pick(own) : random.pick(SORRY).replace('{d}', domain);
  return random.chance(0.85) ? `${sorry} ${random.pick(HELP)}` : sorry;
}

export function outsideQuestion(random: Random): readonly [question: string, domain: string] {
  if (random.chance(0.2)) return [askOutside(random, random.pick(fillers.thing)), 'general knowledge'];
  const [domain, , templates] = random.weighted(ASKS.map((ask) => [ask[1], ask] as const));
  const question = random.pick(templates).replace(/\{(\w+)\}/g, (_, key: string) => random.pick(fillers[key as Filler]));
  return [question, domain];
}

/** Terms that nobody knows: better to say so than to invent a meaning. */
function unknownTerm(random: Random): Example {
  const word = random.chance(0.5) ? madeUpWord(random, random.between(2, 4)) : `${madeUpName(random)} ${random.pick(['attention', 'decoding', 'cache', 'scheduler', 'batching', 'quantization', 'protocol', 'GPU', 'engine', 'algorithm', 'theorem'])}`;
  const question = askOutside(random, word);
  const answer = random.pick(["I don't know what {w} is.", "I'm sorry, I do not know {w}.", 'I have never heard of {w}, so I would only be guessing.']).replace('{w}', word);
  return { kind: 'unknown', messages: [user(loose(random, question)), assistant(random.chance(0.6) ? `${answer} ${random.pick(HELP)}` : answer)] };
}

export function refusal(random: Random): Example {
  if (random.chance(0.2)) return unknownTerm(random);
  const [question, domain] = outsideQuestion(random);
  return { kind: 'refusal', messages: [user(loose(random, question)), assistant(declineAnswer(random, domain))] };
}
