import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ModelFolderError } from '../../../gpu-worker/model/folder.ts';
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
});
