import { expect, test } from 'vitest';
import { GatewayLink } from '../../../gpu-worker/stream/gateway-link.ts';
import { StreamRecord } from '../../../gpu-worker/stream/stream-record.ts';

const IDENTITY = { worker: 'w', epoch: 'e', shard: 's0', shardEpoch: 'g1' };
const HEAD = { id: 'r', attempt: 2, promptTokens: 3, choices: 1, firstOffset: 10 };

function delta(offset: number, pieces: readonly string[]) {
  const ids = pieces.map((_, i) => offset + i);
  return { id: 'r.2', choice: 0, offset, ids, pieces, reasoning: null, logprobs: null, finish: null };
}

function open() {
  const record = new StreamRecord(HEAD, 0);
  const link = new GatewayLink(IDENTITY, 0);
  link.attach(record, 0);
  return { record, link };
}

test('unacked bytes stall a link long before the number of batches does; acks open it again', () => {
  const { record, link } = open();
  // As much as fits in nearly one batch, again and again.
  const piece = 'x'.repeat(50_000);
  let offset = HEAD.firstOffset;
  let batches = 0;
  while (!link.stalled && batches < 1000) {
    record.append(delta(offset, [piece, piece]));
    offset += 2;
    link.mark(record);
    batches += link.flush(0).length;
  }
  expect(batches).toBeLessThan(100);
  expect(batches * 2 * piece.length).toBeGreaterThan(1_000_000);
  record.append(delta(offset, ['y']));
  link.mark(record);
  expect(link.flush(0)).toEqual([]);
  link.ack(batches, 0);
  expect(link.unacked).toBe(0);
  expect(link.flush(0)).toMatchObject([{ seq: batches + 1, frames: [{ offset, pieces: ['y'] }] }]);
});

test('a stalled link still says its number once a second, so that a gateway sees what it lost', () => {
  const { record, link } = open();
  let offset = HEAD.firstOffset;
  while (!link.stalled) {
    record.append(delta(offset++, ['x']));
    link.mark(record);
    link.flush(0);
  }
  const sent = link.unacked;
  expect(link.nudge(999)).toBeNull();
  expect(link.nudge(1000)).toMatchObject({ seq: sent + 1, frames: [] });
  expect(link.nudge(1999)).toBeNull();
  link.ack(sent + 1, 2000);
  expect(link.nudge(60_000)).toBeNull();
});

test('a record of a later attempt starts at that attempt’s first token, however far back a replay asks', () => {
  const { record, link } = open();
  record.append(delta(10, ['a', 'b', 'c']));
  expect(link.flush(0)).toMatchObject([{ frames: [{ attempt: 2, offset: 10, ids: [10, 11, 12] }] }]);
  for (const [asked, first] of [
    [0, 10],
    [11, 11],
    [13, null],
    [99, null],
  ] as const) {
    record.rewind([asked]);
    link.mark(record);
    const frames = link.flush(0).flatMap((batch) => batch.frames);
    expect(frames.map((frame) => (frame.type === 'text-delta' ? frame.offset : frame.type))).toEqual(
      first === null ? [] : [first],
    );
  }
  expect(record.usage).toMatchObject({ promptTokens: 3, completionTokens: 13, cachedTokens: 0 });
  expect(() => record.append(delta(12, ['again']))).toThrow(/output 12 after 13/);
});

test('ended requests are no longer what the lease is about', () => {
  const { record, link } = open();
  expect(link.live.size).toBe(1);
  const usage = record.usage;
  record.end({ type: 'error', id: 'r.2', code: 'server_error', message: 'm', usage }, 5);
  link.mark(record);
  expect(link.live.size).toBe(0);
  expect(link.flush(5)).toMatchObject([{ frames: [{ type: 'stream-error', id: 'r', attempt: 2 }] }]);
});
