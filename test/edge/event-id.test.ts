/** Event ids: what a client may send to resume, for one choice and for several. Pure. */
import { describe, expect, it } from 'vitest';
import { checkEventId, eventId, parseEventId } from '../../edge/event-id.ts';
import { thrownBy } from '../support/thrown.ts';

const refused = { code: 'invalid_value', param: 'offset' };

describe('event ids', () => {
  it.each([[[12]], [[0, 0]], [[12, 7, 9]], [Array.from({ length: 64 }, (_, i) => i)]])('%j comes back', (offsets) => {
    expect(parseEventId(eventId(offsets), offsets.length)).toEqual(offsets);
  });

  it('0 is the start of any number of choices', () => {
    expect(parseEventId('0', 1)).toEqual([0]);
    expect(parseEventId('0', 3)).toEqual([0, 0, 0]);
  });

  it.each(['', '-1', '1.', '.1', '1..2', '1,2', '1e3', ' 1', '1234567890', Array(65).fill('1').join('.')])(
    '%j is none',
    (text) => {
      expect(thrownBy(() => checkEventId(text))).toMatchObject(refused);
      expect(thrownBy(() => parseEventId(text, 1))).toMatchObject(refused);
    },
  );

  it.each([
    ['1', 2],
    ['1.2', 1],
    ['0.0', 3],
  ])('%s for %i choices names the number of counts', (text, choices) => {
    const error = thrownBy(() => parseEventId(text, choices));
    expect(error).toMatchObject(refused);
    expect(String(error)).toContain(`${choices} counts`);
  });
});
