import { expect, test } from 'vitest';
import { thisMachine } from '../report.ts';
import { spreadOf } from '../rounds.ts';
import { differing } from './engine-loop.ts';
import type { Figure } from './measure.ts';
import { figureJson, figureTable } from './report.ts';
import { profileOf } from './step-profile.ts';

const stats = {
  ...{
    tokens: 4,
    rows: 4,
    decodeRows: 4,
    prefillTokens: 0,
    promptsLeft: false,
    scheduleMs: 1,
    runMs: 5,
    sampleMs: 2,
    commitMs: 1,
  },
  ...{ preemptions: 0, draftedTokens: 0, acceptedTokens: 0, drafts: 0, cost: null },
};
const figure = (name: string, values: readonly number[], must: Figure['must']): Figure => {
  const profiles = { side: profileOf([{ wallMs: 10, stats }]) };
  return { name, unit: '×', spread: spreadOf(values), must, details: { times: spreadOf([2]) }, profiles };
};
const FIGURES = [
  figure('enough', [1, 3, 2], { atLeast: 2 }),
  figure('too much', [4], { atMost: 3 }),
  figure('only known', [7], null),
];
const FAILURES = [{ measure: 'host', message: 'a token is wrong' }];

test('the median decides; only what is missed shows where its time went', () => {
  const [, , enough, tooMuch, known, ...rest] = figureTable(FIGURES, FAILURES).split('\n');
  expect(enough).toMatch(/^enough +2\.00 \[1\.00–3\.00\] × +≥ 2 × +met$/);
  expect(tooMuch).toMatch(/^too much +4\.00 × +≤ 3 × +missed$/);
  expect(known).toMatch(/^only known +7\.00 ×$/);
  expect(rest).toHaveLength(2);
  expect(rest[0]).toMatch(
    /^too much, side: 1 steps of 10 ms = schedule 1 \+ run 5 \+ sample 2 \+ commit 1 \+ other 1;/,
  );
  expect(rest[1]).toBe('host failed: a token is wrong');
});

test('one line of JSON with medians, verdicts and failures', () => {
  const head = { bench: 'engine', date: new Date(0), machine: thisMachine(), parameters: {} };
  const text = figureJson(head, FIGURES, FAILURES);
  expect(text).not.toContain('\n');
  expect(JSON.parse(text)).toMatchObject({
    figures: [
      { name: 'enough', median: 2, min: 1, max: 3, met: true, details: { times: { median: 2 } } },
      { name: 'too much', met: false, must: { atMost: 3 } },
      { name: 'only known', met: null, must: null },
    ],
    failures: FAILURES,
  });
});

test('outputs that differ are named by their place', () => {
  const outputs = [[1, 2], [3], [4, 5]].map((ids) => ({ ids }));
  expect(differing(outputs, outputs)).toEqual([]);
  expect(differing(outputs, [{ ids: [1, 2] }, { ids: [3, 3] }])).toEqual([1, 2]);
});
