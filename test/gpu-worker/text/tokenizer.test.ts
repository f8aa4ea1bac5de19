import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ModelFolderError } from '../../../gpu-worker/model/folder.ts';
import { ChatTemplate } from '../../../gpu-worker/text/chat-template.ts';
import { TokenBytes } from '../../../gpu-worker/text/detokenizer.ts';
import { Tokenizer } from '../../../gpu-worker/text/tokenizer.ts';
import { thrownBy } from '../../support/thrown.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'millrace-tokenizer-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const BYTE_LEVEL = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false };

/** Words that are tokens as they are, and their letters. */
function modelOf(words: readonly string[]): object {
  const tokens = new Set([...words.join(''), ...words]);
  return {
    type: 'BPE',
    vocab: Object.fromEntries([...tokens].map((token, id) => [token, id])),
    merges: [],
    ignore_merges: true,
  };
}

function writeTokenizer(words: readonly string[], change: object = {}): void {
  const rest = { normalizer: null, pre_tokenizer: BYTE_LEVEL, post_processor: null, decoder: BYTE_LEVEL };
  const file = { added_tokens: [], ...rest, model: modelOf(words), ...change };
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(file));
}

describe('tokens spelt like properties of every object', () => {
  test.each(['constructor', 'prototype', '__proto__', 'toString', 'hasOwnProperty'])('%s', (word) => {
    writeTokenizer([word]);
    const [id = -1, ...rest] = new Tokenizer(folder).encode(word, { begin: false });
    expect(rest).toEqual([]);
    expect(new TextDecoder().decode(TokenBytes.fromFolder(folder).of(id))).toBe(word);
  });
});

test('a control token without text is none', () => {
  const added = [{ id: 2, content: '', special: true }];
  writeTokenizer(['ab'], { added_tokens: [...added, { id: 3, content: '<s>', special: true }] });
  expect(new Tokenizer(folder).controlTokens).toEqual(['<s>']);
});

describe('a tokenizer.json that cannot be used is refused by field', () => {
  test.each<[string, object, string]>([
    ['no model', { model: null }, 'model'],
    ['a list of scored tokens', { model: { ...modelOf(['ab']), vocab: [['a', -1]] } }, 'model.vocab'],
    ['an id that is none', { model: { ...modelOf(['ab']), vocab: { a: 0, b: 1, ab: '2' } } }, 'model.vocab'],
    ['an id below 0', { model: { ...modelOf(['ab']), vocab: { a: 0, b: 1, ab: -1 } } }, 'model.vocab'],
    ['an added token without an id', { added_tokens: [{ content: 'x' }] }, 'added_tokens.0.id'],
    ['an unnamed decoder', { decoder: {} }, 'decoder.type'],
  ])('%s', (_, change, field) => {
    writeTokenizer(['ab'], change);
    for (const open of [() => new Tokenizer(folder), () => TokenBytes.fromFolder(folder)]) {
      const error = thrownBy(open);
      expect(error).toBeInstanceOf(ModelFolderError);
      expect(error).toMatchObject({ message: expect.stringContaining(`tokenizer.json: ${field}: `) });
    }
  });

  test.each<[string, object, string, (folder: string) => unknown]>([
    ['a part that is missing', { pre_tokenizer: undefined }, '"pre_tokenizer"', (path) => new Tokenizer(path)],
    ['a part of another kind', { pre_tokenizer: { type: 'Odd' } }, 'Odd', (path) => new Tokenizer(path)],
    ['another decoder', { decoder: { type: 'Odd' } }, 'decoder Odd', (path) => TokenBytes.fromFolder(path)],
  ])('%s', (_, change, reason, open) => {
    writeTokenizer(['ab'], change);
    const error = thrownBy(() => open(folder));
    expect(error).toBeInstanceOf(ModelFolderError);
    expect(error).toMatchObject({ message: expect.stringMatching(`^tokenizer.json.+${reason}`) });
  });
});

describe('what is wrong with a chat template is said with its place', () => {
  test.each([
    [
      'tokenizer_config.json',
      '{"chat_template": "{% if %}"}',
      'tokenizer_config.json: chat_template is not a Jinja template (',
    ],
    ['chat_template.jinja', '{% for m in messages %}', 'chat_template.jinja is not a Jinja template ('],
    ['tokenizer_config.json', '{"chat_template": 5}', 'tokenizer_config.json: chat_template: '],
    ['tokenizer_config.json', '{"eos_token": 5}', 'tokenizer_config.json: eos_token: '],
    ['tokenizer_config.json', '[', 'tokenizer_config.json is not JSON'],
  ])('%s: %s', (file, text, message) => {
    writeFileSync(join(folder, file), text);
    const error = thrownBy(() => new ChatTemplate(folder));
    expect(error).toBeInstanceOf(ModelFolderError);
    expect(error).toMatchObject({ message: expect.stringContaining(message) });
  });
});
