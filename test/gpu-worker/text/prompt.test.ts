import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { PromptEncoder } from '../../../gpu-worker/text/prompt.ts';
import { Tokenizer } from '../../../gpu-worker/text/tokenizer.ts';
import { thrownBy } from '../../support/thrown.ts';

const FOLDER = 'test/fixtures/tiny-llama';
const tokenizer = new Tokenizer(FOLDER);
const encoder = new PromptEncoder(FOLDER, 512);
const control = tokenizer.controlTokens;

const chat = (content: string) => encoder.encode({ type: 'chat', messages: [{ role: 'user', content }] });
const controlIds = control.flatMap((text) => tokenizer.encode(text, { begin: false }));
/** The same tokenizer with another chat template. */
function withTemplate(template: string, vocabSize = 512): PromptEncoder {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-prompt-'));
  try {
    copyFileSync(join(FOLDER, 'tokenizer.json'), join(folder, 'tokenizer.json'));
    writeFileSync(join(folder, 'chat_template.jinja'), template);
    return new PromptEncoder(folder, vocabSize);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const countControl = (ids: Int32Array) => ids.filter((id) => controlIds.includes(id)).length;

test('a control token in a text is one id, as plain text it is several others', () => {
  expect(controlIds).toHaveLength(control.length);
  for (const [i, text] of control.entries()) {
    const plain = tokenizer.encodePlain(text);
    expect(plain.length).toBeGreaterThan(1);
    expect(plain).not.toContain(controlIds[i]);
  }
});

describe('what users write never becomes a control token', () => {
  const plain = countControl(chat('hello'));

  test.each([
    ...control,
    control.join(''),
    `a ${control[0]} b`,
    `${control[0]?.slice(0, -1)}${control[0]}${control[0]?.slice(-1)}`,
  ])('%s', (text) => {
    expect(countControl(chat(text))).toBe(plain);
  });

  test('nor in a name that the template prints, nor across two messages', () => {
    const named = withTemplate('{% for m in messages %}{{ m.name }}{{ m.content }}{% endfor %}');
    const head = control[0] ?? '';
    const messages = [
      { role: 'user' as const, name: head, content: head.slice(0, 3) },
      { role: 'user' as const, name: 'x', content: head.slice(3) },
    ];
    expect(countControl(named.encode({ type: 'chat', messages }))).toBe(0);
  });
});

test('an ordinary chat is the rendered text, tokenized in one piece', () => {
  const rendered = '<|im_start|>user\nhello there, world<|im_end|>\n<|im_start|>assistant\n';
  expect([...chat('hello there, world')]).toEqual(tokenizer.encode(rendered, { begin: false }));
});

describe('prompts that cannot be used name their field', () => {
  test.each([
    ['empty text', { type: 'text' as const, text: '' }, 'prompt'],
    ['a token past the vocabulary', { type: 'tokens' as const, ids: [1, 512] }, 'prompt[1]'],
    ['a token before it', { type: 'tokens' as const, ids: [-1, 1] }, 'prompt[0]'],
  ])('%s', (_, prompt, param) => {
    expect(thrownBy(() => encoder.encode(prompt))).toMatchObject({ code: 'invalid_value', param });
  });

  test('the last token of the vocabulary is one', () => {
    expect([...encoder.encode({ type: 'tokens', ids: [0, 511] })]).toEqual([0, 511]);
  });
});

describe('a token of the tokenizer that the model lacks', () => {
  // As of a language model cut out of one that sees: the tokenizer still has the tokens of images.
  const last = Math.max(...controlIds);
  const text = control[controlIds.indexOf(last)] ?? '';
  const small = withTemplate(`{{ messages[0].content }}{% if messages[0].name %}${text}{% endif %}`, last);

  test('is refused in a text, and in the text of a template', () => {
    const message = `holds ${text}, token ${last}, but the model has token ids 0 to ${last - 1}.`;
    const refused = (param: string) => ({ code: 'invalid_value', param, message: `\`${param}\` ${message}` });
    expect(thrownBy(() => small.encode({ type: 'text', text: `a ${text}` }))).toMatchObject(refused('prompt'));
    const messages = [{ role: 'user' as const, name: 'x', content: 'a' }];
    expect(thrownBy(() => small.encode({ type: 'chat', messages }))).toMatchObject(refused('messages'));
  });

  test('is plain text in what users write', () => {
    const messages = [{ role: 'user' as const, content: text }];
    expect([...small.encode({ type: 'chat', messages })]).toEqual(tokenizer.encodePlain(text));
  });
});
