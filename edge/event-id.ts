/** Ids of SSE events: how many output tokens a client has had, `12`, or `12.7.9` with one count for each choice. Pure. */
import { MillraceError } from '../shared/errors.ts';

const FORM = /^\d{1,9}(\.\d{1,9}){0,63}$/;

export function eventId(offsets: readonly number[]): string {
  return offsets.join('.');
}

/** Throws unless `text` has the form of an event id. */
export function checkEventId(text: string): string {
  if (FORM.test(text)) return text;
  throw refusal('must be the id of the last event received');
}

/** One offset for each of `choices`; `0` is the start of all. Throws for another number of them. */
export function parseEventId(text: string, choices: number): readonly number[] {
  const offsets = checkEventId(text).split('.').map(Number);
  if (offsets.length === choices) return offsets;
  if (text === '0') return Array.from({ length: choices }, () => 0);
  throw refusal(`must have ${choices} counts, one for each choice, as the ids of this stream's events do`);
}

function refusal(what: string): MillraceError {
  return new MillraceError('invalid_value', `Last-Event-ID (or \`offset\`) ${what}.`, { param: 'offset' });
}
