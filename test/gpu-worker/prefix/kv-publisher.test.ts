import { beforeEach, expect, test } from 'vitest';
import { KvPublisher } from '../../../gpu-worker/prefix/kv-publisher.ts';
import { PrefillQueue } from '../../../gpu-worker/prefix/prefill-queue.ts';
import { decodeMessage, encodeMessage, kvEventsSchema, type KvEvents } from '../../../shared/protocol.ts';

const sent: KvEvents[] = [];
let publisher: KvPublisher;
beforeEach(() => {
  sent.length = 0;
  publisher = new KvPublisher({ worker: 'w', epoch: 'e', publish: (events) => void sent.push(events) });
});

const hash = (i: number) => i.toString(16).padStart(16, '0');
const mark = (i: number) => ({ hash: hash(i), tokens: 100 + i });
const stored = (...numbers: number[]) => publisher.receive({ stored: numbers.map(mark), evicted: [] });
const evicted = (...numbers: number[]) => publisher.receive({ stored: [], evicted: numbers.map(hash) });

test('a shard hears of the blocks of its own requests, in numbered messages', () => {
  publisher.want('s0', [mark(1), mark(2)]);
  publisher.want('s1', [mark(2), mark(3)]);
  stored(1, 2, 3, 4);
  evicted(2);
  const heard = (shard: string) => sent.filter((each) => each.shard === shard);
  expect(heard('s0')).toMatchObject([
    {
      event: 1,
      stored: [
        [hash(1), 101],
        [hash(2), 102],
      ],
      evicted: [],
    },
    { event: 2, stored: [], evicted: [hash(2)] },
  ]);
  expect(heard('s1').map(({ event, stored: blocks }) => [event, blocks.length])).toEqual([
    [1, 2],
    [2, 0],
  ]);
  for (const events of sent) expect(decodeMessage(kvEventsSchema, encodeMessage(events))).toEqual(events);
});

test('nothing twice: known blocks are no news, and a shard that comes later is told at once', () => {
  publisher.want('s0', [mark(1)]);
  stored(1);
  stored(1);
  publisher.want('s0', [mark(1)]);
  expect(sent).toHaveLength(1);
  publisher.want('s1', [mark(1), mark(2)]);
  expect(sent[1]).toMatchObject({ shard: 's1', event: 1, stored: [[hash(1), 101]] });
});

test('an eviction on its way when a request comes does not hide that it brings the block back', () => {
  publisher.want('s0', [mark(1)]);
  stored(1);
  publisher.want('s0', [mark(1)]);
  evicted(1);
  stored(1);
  expect(sent.map(({ event }) => event)).toEqual([1, 2, 3]);
  expect(publisher.heldTokens([mark(1), mark(9)])).toBe(101);
});

test('a snapshot has the number of the last event and all that the shard should know', () => {
  expect(publisher.snapshot('s0')).toMatchObject({ event: 0, stored: [] });
  publisher.want('s0', [mark(1), mark(2), mark(3)]);
  publisher.want('s1', [mark(4)]);
  stored(1, 2, 4);
  evicted(2);
  expect(publisher.snapshot('s0')).toMatchObject({ event: 2, stored: [[hash(1), 101]], evicted: [] });
});

test('bounded: of 20,000 blocks the last 8,192 are known, the others told to be gone', () => {
  for (let i = 0; i < 20_000; i++) {
    publisher.want('s0', [mark(i)]);
    stored(i);
  }
  const held = new Set<string>();
  for (const events of sent) {
    for (const each of events.evicted) held.delete(each);
    for (const [each] of events.stored) held.add(each);
  }
  expect(held.size).toBe(8192);
  expect(new Set(publisher.snapshot('s0').stored.map(([each]) => each))).toEqual(held);
  expect(encodeMessage(publisher.snapshot('s0')).length).toBeLessThan(900_000);
  for (let i = 0; i < 3000; i++) publisher.want(`shard${i}`, [mark(19_999)]);
  // Its number was forgotten and begins again: a gap at the gateway.
  evicted(19_999);
  expect(sent.findLast(({ shard }) => shard === 'shard0')?.event).toBe(1);
});

test('the prefill queue counts what is to be computed, and learns the pace from steps of prompts', () => {
  const queue = new PrefillQueue();
  const step = {
    ...{ rows: 1, scheduleMs: 0, sampleMs: 0, commitMs: 0, preemptions: 0, acceptedTokens: 0, drafts: 0, cost: null },
    ...{ decodeRows: 0, draftedTokens: 0, promptsLeft: false, prefillTokens: 0 },
  };
  queue.add('a', 100);
  queue.add('b', 50);
  queue.add('a', 70);
  expect(queue.tokens).toBe(120);
  queue.remove('a');
  queue.remove('a');
  queue.remove('nobody');
  expect(queue.tokens).toBe(50);
  expect(queue.tokensPerSecond(0)).toBeNull();
  queue.observe({ ...step, tokens: 1000, prefillTokens: 1000, runMs: 100 }, 0);
  expect(queue.tokensPerSecond(0)).toBe(10_000);
  // Decodes alone, and a whole short prompt.
  queue.observe({ ...step, tokens: 150, decodeRows: 150, runMs: 100 }, 0);
  queue.observe({ ...step, tokens: 12, prefillTokens: 12, runMs: 100 }, 0);
  expect(queue.tokensPerSecond(29_000)).toBe(10_000);
  expect(queue.tokensPerSecond(31_000)).toBeNull();
  for (let i = 0; i < 100; i++) queue.observe({ ...step, tokens: 1000, prefillTokens: 1000, runMs: 200 }, 40_000);
  expect(queue.tokensPerSecond(40_000)).toBeCloseTo(5000, 0);
  // Small pieces of a long prompt beside decodes: that is how fast prompts go now.
  for (let i = 0; i < 100; i++) {
    queue.observe({ ...step, tokens: 22, decodeRows: 8, prefillTokens: 14, promptsLeft: true, runMs: 140 }, 50_000);
  }
  expect(queue.tokensPerSecond(50_000)).toBeCloseTo(100, 0);
});
