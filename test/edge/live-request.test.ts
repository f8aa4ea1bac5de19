/** Reassembly: whatever order, doubling and loss do to frames, each choice is whole or a replay is asked for. Pure. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LiveRequest } from '../../edge/live-request.ts';
import { MillraceError } from '../../shared/errors.ts';
import { NO_USAGE, type Frame } from '../../shared/protocol.ts';
import { choiceEnd, delta, drawn, HEAD, streamEnd, tokensOf, type Token } from './frames.ts';

const open = (offsets: readonly number[] = [0], whole = false) =>
  new LiveRequest({ ...HEAD, worker: 'w', epoch: 'e', offsets, whole, continues: false });

/** What a choice has put out, by all that was taken of it. */
interface Seen {
  text: string;
  reasoning: string;
  bytes: number[];
  textOffsets: number[];
}

function takeInto(seen: readonly Seen[], live: LiveRequest): void {
  for (const [index, part] of live.take().choices.entries()) {
    const choice = seen[index];
    if (choice === undefined) throw new Error(`choice ${index} was not asked for`);
    choice.text += part.text;
    choice.reasoning += part.reasoning;
    for (const { bytes, textOffset } of part.logprobs ?? []) {
      choice.bytes.push(...bytes);
      choice.textOffsets.push(textOffset);
    }
  }
}

/** The same from the tokens. */
function expected(tokens: readonly Token[]): Seen {
  const seen: Seen = { text: '', reasoning: '', bytes: [], textOffsets: [] };
  for (const { piece, reasoning = '', logprobs } of tokens) {
    seen.textOffsets.push(Array.from(seen.text).length);
    seen.text += piece;
    seen.reasoning += reasoning;
    seen.bytes.push(...(logprobs?.bytes ?? []));
  }
  return seen;
}

const token = fc.record({
  piece: fc.string({ unit: 'grapheme', maxLength: 3 }),
  reasoning: fc.constantFrom('', '', 'r', 'so'),
  logprobs: fc.string({ maxLength: 2 }).map((text) => drawn(text)),
});
const choicesOf = fc.array(fc.array(token, { minLength: 1, maxLength: 20 }), { minLength: 1, maxLength: 4 });
const slice = fc.record({
  ...{ choice: fc.nat(4), at: fc.nat(19), length: fc.integer({ min: 1, max: 8 }) },
  ...{ attempt: fc.constantFrom(1, 2, 2), take: fc.boolean() },
});

describe('live request', () => {
  it('any order, cut, doubled or lost frames: never a wrong output of any choice, and a hole always shows', () => {
    const run = fc.property(choicesOf, fc.array(slice, { maxLength: 60 }), (all, slices) => {
      const live = open(all.map(() => 0));
      const seen = all.map(() => expected([]));
      for (const { choice, at, length, attempt, take } of slices) {
        const tokens = all[choice] ?? [{ piece: 'of no choice' }];
        const from = Math.min(at, tokens.length - 1);
        const before = live.offsets;
        const frame: Frame = { ...delta(choice, tokens, [from, from + length]), attempt };
        // A hole, and only a hole, is refused; an old attempt and a choice that is not there change nothing.
        const counts = attempt === 2 && choice < all.length;
        expect(live.accept(frame, 0)).toBe(!counts || from <= (before[choice] ?? 0));
        if (!counts) expect(live.offsets).toEqual(before);
        if (take) takeInto(seen, live);
      }
      takeInto(seen, live);
      expect(seen).toEqual(all.map((tokens, index) => expected(tokens.slice(0, live.offsets[index]))));
      const total = all.reduce((sum, { length }) => sum + length, 0);
      const whole = live.offsets.reduce((sum, offset) => sum + offset, 0) === total;
      for (const index of all.keys()) live.accept(choiceEnd(index), 0);
      expect(live.accept(streamEnd(total), 0)).toBe(whole);
      // What a worker sends on replay.
      const { offsets } = live;
      for (const [index, tokens] of all.entries()) {
        if (!whole) expect(live.accept(delta(index, tokens, [offsets[index] ?? 0, tokens.length]), 0)).toBe(true);
      }
      if (!whole) expect(live.accept(streamEnd(total), 0)).toBe(true);
      expect(live.ended).toBe(true);
      takeInto(seen, live);
      expect(seen).toEqual(all.map(expected));
    });
    fc.assert(run, { numRuns: 500 });
  });

  it('goes on from the offsets a client names, one for each choice', () => {
    const live = open([2, 0]);
    expect(live.startOffsets).toEqual([2, 0]);
    expect(live.accept(delta(0, tokensOf('abc')), 0)).toBe(true);
    expect(live.accept(delta(1, tokensOf('xy'), [1, 2]), 0)).toBe(false);
    expect(live.offsets).toEqual([3, 0]);
    expect(live.take().choices).toMatchObject([
      { text: 'c', offset: 3 },
      { text: '', offset: 0 },
    ]);
  });

  it('a stop ends it well once all that was generated has come', () => {
    const live = open();
    live.stopping = true;
    const usage = { ...NO_USAGE, completionTokens: 3 };
    const aborted: Frame = { ...HEAD, type: 'stream-error', code: 'request_cancelled', message: 'm', usage };
    live.accept(delta(0, tokensOf('ab')), 0);
    expect(live.accept(aborted, 0)).toBe(false);
    live.accept(delta(0, tokensOf('abc')), 0);
    expect(live.accept(aborted, 0)).toBe(true);
    expect(live.take()).toMatchObject({
      choices: [{ text: 'abc', finishReason: 'stop' }],
      end: { usage },
      error: null,
    });
  });

  it('logprobs are null when the frames have none, also after some had', () => {
    const live = open();
    live.accept(delta(0, [{ piece: 'a', logprobs: drawn('a') }]), 0);
    expect(live.take().choices[0]?.logprobs).toHaveLength(1);
    expect(live.take().choices[0]?.logprobs).toBeNull();
  });

  it('a lost finish of one choice shows at the end', () => {
    const live = open([0, 0]);
    for (const choice of [0, 1]) live.accept(delta(choice, tokensOf('a')), 0);
    expect(live.accept(choiceEnd(1, 'stop', 99), 0), 'tokens before its end are missing').toBe(false);
    live.accept(choiceEnd(1, 'stop'), 0);
    expect(live.accept(streamEnd(2), 0)).toBe(false);
    live.accept(choiceEnd(0), 0);
    expect(live.accept(streamEnd(2), 0)).toBe(true);
    expect(live.take().choices.map(({ finishReason }) => finishReason)).toEqual(['length', 'stop']);
  });

  it('an abort that the client asked for is a normal end of what still runs; another is an error', () => {
    const aborted: Frame = { ...HEAD, type: 'stream-error', code: 'request_cancelled', message: 'Cancelled.' };
    const [stopped, failed] = [open([0, 0]), open([0, 0])];
    stopped.stopping = true;
    for (const live of [stopped, failed]) {
      live.accept(delta(1, tokensOf('ab')), 0);
      live.accept(choiceEnd(1, 'length'), 0);
      live.accept(aborted, 0);
    }
    const { choices, end, error } = stopped.take();
    expect(choices.map(({ finishReason }) => finishReason)).toEqual(['stop', 'length']);
    expect([end?.usage.completionTokens, error]).toEqual([2, null]);
    expect(failed.take()).toMatchObject({ end: null, error: { code: 'request_cancelled' } });
  });

  it('the first end stands', () => {
    const live = open();
    live.accept(choiceEnd(0), 0);
    live.accept(streamEnd(0), 0);
    live.fail(new MillraceError('worker_lost', 'The worker was lost.'), 0);
    expect(live.take().error).toBeNull();
  });

  it('something waits from the first new token on, for a whole answer from its end on', async () => {
    const [live, whole] = [open(), open([0], true)];
    for (const each of [live, whole]) each.accept(delta(0, tokensOf('ab')), 7);
    expect([live.waitingSinceMs, whole.waitingSinceMs]).toEqual([7, null]);
    expect(await whole.wait(1)).toBe(false);
    live.take();
    // A doubled frame is nothing new.
    live.accept(delta(0, tokensOf('ab')), 8);
    expect([live.waitingSinceMs, await live.wait(1)]).toEqual([null, false]);
    whole.accept(choiceEnd(0), 9);
    whole.accept(streamEnd(2), 9);
    expect(await whole.wait(1)).toBe(true);
    expect(whole.take().choices).toMatchObject([{ text: 'ab', finishReason: 'length' }]);
  });
});
