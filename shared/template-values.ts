/** Values for the chat template beside the messages, as they travel. Knows no template. */
import * as v from 'valibot';

/** valibot's `record` leaves these out without a word. */
const LOST_NAMES = ['__proto__', 'constructor', 'prototype'];

export const refuseLostNames = v.rawCheck<unknown>(({ dataset: { value }, addIssue }) => {
  if (typeof value !== 'object' || value === null) return;
  const name = LOST_NAMES.find((lost) => Object.hasOwn(value, lost));
  if (name === undefined) return;
  const path: [v.UnknownPathItem] = [{ type: 'unknown', origin: 'key', input: value, key: name, value: name }];
  addIssue({ message: 'must have another name', expected: 'given under another name', received: name, path });
});

const templateValue = v.union([v.boolean(), v.pipe(v.number(), v.finite()), v.pipe(v.string(), v.maxLength(1024))]);

export const templateValuesSchema = v.pipe(
  v.unknown(),
  refuseLostNames,
  v.record(v.pipe(v.string(), v.maxLength(64)), templateValue),
);
