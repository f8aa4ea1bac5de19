import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { edgeOf } from '../../../infra/key/edge.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'millrace-key-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const REMOTE = { remote: true } as const;

test('the pepper of the environment, in the cloud and for a local database without a stack', () => {
  for (const place of [REMOTE, { remote: false, folder } as const]) {
    expect(edgeOf(place, { KEY_PEPPER: 'salt' }).pepper).toBe('salt');
  }
});

test('a development stack knows its own, whatever the environment has', () => {
  writeFileSync(join(folder, 'edge.json'), JSON.stringify({ port: 8787, bindings: { KEY_PEPPER: 'of the stack' } }));
  const stack = { pepper: 'of the stack', url: 'http://127.0.0.1:8787' };
  expect(edgeOf({ remote: false, folder }, { KEY_PEPPER: 'salt' })).toEqual(stack);
  expect(edgeOf(REMOTE, { KEY_PEPPER: 'salt' }).pepper).toBe('salt');
});

test('without one: that it must be the secret of the Worker, and how to make it', () => {
  for (const env of [{}, { KEY_PEPPER: '' }]) {
    const wrong = () => edgeOf(REMOTE, env);
    expect(wrong).toThrow("KEY_PEPPER is not set. It must be the same as the Worker's secret of that name");
    expect(wrong).toThrow('openssl rand -hex 32');
    expect(wrong).toThrow('npx wrangler secret put KEY_PEPPER');
  }
});

test('one that wrangler would cut is refused, and not shown', () => {
  for (const pepper of ['tell-no-one\n', ' tell-no-one']) {
    const wrong = () => edgeOf(REMOTE, { KEY_PEPPER: pepper });
    expect(wrong).toThrow('KEY_PEPPER begins or ends with blanks');
    expect(wrong).not.toThrow('tell-no-one');
  }
});
