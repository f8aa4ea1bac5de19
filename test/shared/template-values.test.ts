import { Environment, Template } from '@huggingface/jinja';
import * as v from 'valibot';
import { expect, test, vi } from 'vitest';
import { templateValuesSchema } from '../../shared/template-values.ts';

/** What the template engine gives a template before it has any value of a request. */
function engineNames(): readonly string[] {
  const set = vi.spyOn(Environment.prototype, 'set');
  new Template('').render({});
  const names = set.mock.calls.map(([name]: unknown[]) => String(name));
  set.mockRestore();
  return [...new Environment().variables.keys(), ...names];
}

test.each([...new Set(['constructor', 'prototype', '__proto__', 'range', ...engineNames()])])(
  'a value named %s is refused by name',
  (name) => {
    const parsed = v.safeParse(templateValuesSchema, JSON.parse(`{ "a": 1, "${name}": true }`));
    expect(parsed.success).toBe(false);
    expect(parsed.issues?.map((issue) => [v.getDotPath(issue), issue.message])).toEqual([
      [name, 'must have another name'],
    ]);
  },
);

test('other names are values as they are', () => {
  const values = { enable_thinking: false, toString: 'x', valueOf: 2 };
  expect(v.parse(templateValuesSchema, values)).toEqual(values);
});
