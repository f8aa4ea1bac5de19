import { expect, test } from 'vitest';
import { articleBefore } from '../../../infra/prompt/article.ts';

const words = (text: string) => text.split(', ');

test.each([
  ['a', words('teacher, European, euro, one-person team, one, once-only offer, user, union, unique, US, U.S. citizen')],
  ['a', words('UX designer, UI, UK guide, Ukrainian, UN envoy, utility, ubiquitous, NASA engineer, home, 3')],
  ['an', words('engineer, onerous task, only child, umpire, unimpressed actor, unintended, urgent case, usher, utter')],
  ['an', words('AI, IT expert, ML engineer, HR, HTML page, hour, honest, heir, oncologist, even, ultimate')],
] as const)('%s before %j', (article, all) => {
  expect(all.map((word) => [word, articleBefore(word)])).toEqual(all.map((word) => [word, article]));
});
