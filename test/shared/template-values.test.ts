import * as v from 'valibot';
import { expect, test } from 'vitest';
import { templateValuesSchema } from '../../shared/template-values.ts';

test.each(['constructor', 'prototype', '__proto__'])('a value named %s is refused by name', (name) => {
  const parsed = v.safeParse(templateValuesSchema, JSON.parse(`{ "a": 1, "${name}": true }`));
  expect(parsed.success).toBe(false);
  expect(parsed.issues?.map((issue) => [v.getDotPath(issue), issue.message])).toEqual([
    [name, 'must have another name'],
  ]);
});

test('other names are values as they are', () => {
  const values = { enable_thinking: false, toString: 'x', valueOf: 2 };
  expect(v.parse(templateValuesSchema, values)).toEqual(values);
});
