import { describe, expect, test } from 'vitest';
import { ownWords } from '../../../edge/compress/own-words.ts';
import { parseUnits } from '../../../edge/compress/units.ts';

function read(content: string): { readonly own: readonly string[]; readonly question: string | null } {
  const units = parseUnits(content);
  const { flags, question } = ownWords(units);
  return { own: units.filter((_, i) => flags[i]).map(({ text }) => text), question };
}

describe('own words and the question', () => {
  test.each([
    ['one line', 'Who founded it?', ['Who founded it?'], 'Who founded it'],
    [
      'instructions, labelled documents, a labelled question',
      'Use the documents.\nBe brief.\n\nDocument 1: A\nText one.\n\nDocument 2: B\nWho knows?\n\nQuestion: Who was it?\nAnswer:',
      ['Use the documents.', 'Be brief.', 'Question: Who was it?', 'Answer:'],
      'Question: Who was it',
    ],
    [
      'tags, and what follows them',
      '<context>\nText. Why?\nMore.\n</context>\n\nI have a question.\n\nTell me of the mill. Who built it? Thanks.',
      ['I have a question.', 'Tell me of the mill. Who built it? Thanks.'],
      'Who built it',
    ],
    [
      'a question first, context after',
      'Who built it?\n\n[1] A title\nText one.\n\n[2] A title\nText two.',
      ['Who built it?', 'Text two.'],
      'Who built it',
    ],
    [
      'no marks: the first line and the last',
      'First.\nText.\nText.\nSum this up.',
      ['First.', 'Sum this up.'],
      'Sum this up.',
    ],
    ['context alone', 'Tool result:\nText one.\n\nDocument 2: all on one line', [], null],
    [
      'other scripts',
      '文档1：磨坊。\n\n问题：谁建造了它？',
      ['文档1：磨坊。', '问题：谁建造了它？'],
      '问题：谁建造了它',
    ],
  ])('%s', (_, content, own, question) => {
    const found = read(content);
    expect(found.own).toEqual(own);
    expect(found.question).toBe(question);
  });

  test('a document on one line is no question, nor is JSON', () => {
    const document = `Title\n${'The mill is old. '.repeat(200)}`;
    expect(read(document).own).toEqual(['Title']);
    expect(read('Look:\n{"name": "a question?", "list": [1, 2, 3]}').own).toEqual(['Look:']);
  });
});
