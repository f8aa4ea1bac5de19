/** Reassembly: whatever order, doubling and loss do to frames, the client's text is whole or a replay is asked for. Pure. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LiveRequest } from '../../edge/live-request.ts';
import { MillraceError } from '../../shared/errors.ts';
import type { Frame } from '../../shared/protocol.ts';

const head = { id: 'a', attempt: 2 };
const open = (offset = 0) => new LiveRequest({ ...head, worker: 'w', epoch: 'e', offset });

function delta(pieces: readonly string[], offset: number, attempt = 2): Frame {
  return { ...head, attempt, type: 'text-delta', choice: 0, offset, ids: pieces.map(() => 1), pieces: [...pieces] };
}

function end(completionTokens: number): Frame {
  const usage = { promptTokens: 3, completionTokens, cachedTokens: 0 };
  return { ...head, type: 'stream-end', usage, timings: { queueMs: 0, prefillMs: 0, decodeMs: 0 } };
}

const pieces = fc.array(fc.string({ maxLength: 3 }), { minLength: 1, maxLength: 30 });

describe('live request', () => {
  it('any order, doubled or lost frames: never a wrong text, and a hole always shows', () => {
    const slice = fc.record({
      at: fc.nat(29),
      length: fc.integer({ min: 1, max: 8 }),
      attempt: fc.constantFrom(1, 2, 2),
    });
    const run = fc.property(pieces, fc.array(slice, { maxLength: 40 }), (all, slices) => {
      const live = open();
      let text = '';
      for (const { at, length, attempt } of slices) {
        const offset = Math.min(at, all.length - 1);
        const before = live.offset;
        const accepted = live.accept(delta(all.slice(offset, offset + length), offset, attempt), 0);
        // A hole, and only a hole, is refused; an old attempt changes nothing.
        expect(accepted).toBe(attempt !== 2 || offset <= before);
        if (attempt !== 2) expect(live.offset).toBe(before);
        text += live.take().text;
        expect(text).toBe(all.slice(0, live.offset).join(''));
      }
      const whole = live.offset === all.length;
      expect(live.accept(end(all.length), 0)).toBe(whole);
      expect(live.ended).toBe(whole);
      // What a worker sends on replay.
      expect(live.accept(delta(all.slice(live.offset), live.offset), 0)).toBe(true);
      if (!whole) expect(live.accept(end(all.length), 0)).toBe(true);
      expect(text + live.take().text).toBe(all.join(''));
    });
    fc.assert(run, { numRuns: 500 });
  });

  it('goes on from the offset a client names', () => {
    const live = open(2);
    expect(live.accept(delta(['a', 'b', 'c'], 0), 0)).toBe(true);
    expect(live.take()).toMatchObject({ text: 'c', offset: 3 });
  });

  it('an abort that the client asked for is a normal end; another is an error', () => {
    const aborted: Frame = { ...head, type: 'stream-error', code: 'request_cancelled', message: 'Cancelled.' };
    const [stopped, failed] = [open(), open()];
    stopped.stopping = true;
    for (const live of [stopped, failed]) live.accept(aborted, 0);
    expect(stopped.take()).toMatchObject({ finishReason: 'stop', error: null });
    expect(failed.take()).toMatchObject({ end: null, error: { code: 'request_cancelled' } });
  });

  it('the first end stands', () => {
    const live = open();
    live.accept(end(0), 0);
    live.fail(new MillraceError('worker_lost', 'The worker was lost.'), 0);
    expect(live.take().error).toBeNull();
  });
});
