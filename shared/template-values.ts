/** Values for the chat template beside the messages, as they travel. Knows no template. */
import * as v from 'valibot';

/** valibot's `record` leaves the first three out without a word; in the others' place the template engine has its own. */
const TAKEN_NAMES = [
  ...['__proto__', 'constructor', 'prototype'],
  ...['true', 'True', 'false', 'False', 'none', 'None', 'namespace', 'raise_exception', 'range', 'strftime_now'],
];

export const refuseTakenNames = v.rawCheck<unknown>(({ dataset: { value }, addIssue }) => {
  if (typeof value !== 'object' || value === null) return;
  const name = TAKEN_NAMES.find((taken) => Object.hasOwn(value, taken));
  if (name === undefined) return;
  const path: [v.UnknownPathItem] = [{ type: 'unknown', origin: 'key', input: value, key: name, value: name }];
  addIssue({ message: 'must have another name', expected: 'given under another name', received: name, path });
});

const templateValue = v.union([v.boolean(), v.pipe(v.number(), v.finite()), v.pipe(v.string(), v.maxLength(1024))]);

export const templateValuesSchema = v.pipe(
  v.unknown(),
  refuseTakenNames,
  v.record(v.pipe(v.string(), v.maxLength(64)), templateValue),
);
