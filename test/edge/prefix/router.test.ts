import { beforeEach, describe, expect, test } from 'vitest';
import { lookupOf, PrefixRouter, routingNamed, type Lookup, type Routing } from '../../../edge/prefix/router.ts';
import type { Heartbeat, Prompt } from '../../../shared/protocol.ts';
import { seeded } from '../../support/seeded.ts';

const chat = (system: string, user: string): Prompt => ({
  type: 'chat',
  messages: [
    { role: 'system', content: system },
    { role: 'user', content: user },
  ],
});
const head = { tenant: 't', cacheSalt: '', templateValues: {} };
const lookup = (prompt: Prompt, extra: Partial<typeof head> = {}) => lookupOf({ ...head, prompt, ...extra });

function beat(worker: string, load: Partial<Heartbeat['load']> = {}): Heartbeat {
  const idle = { running: 0, waiting: 0, queuedPrefillTokens: 0, kvTokens: 0, prefillTokensPerSecond: 10_000 };
  return {
    ...{ v: 1, worker, epoch: 'e', models: ['m'], fingerprint: 'f', status: 'ready', created: 0 },
    limits: { maxSequences: 64, maxModelLen: 4096, kvTokens: 1e6 },
    ...{ load: { ...idle, ...load }, step: { completed: 0, atMs: 0 } },
  };
}

let router: PrefixRouter;
let workers: readonly Heartbeat[];
beforeEach(() => {
  router = new PrefixRouter();
  workers = ['a', 'b', 'c', 'd'].map((worker) => beat(worker));
  for (const worker of workers) hear(worker, 0);
});

function hear(heartbeat: Heartbeat, nowMs: number): void {
  if (!router.heartbeat(heartbeat, nowMs)) return;
  router.restore({ v: 1, worker: heartbeat.worker, epoch: 'e', shard: 's', event: 0, stored: [], evicted: [] });
}

const random = seeded(3);
/** Where a prompt goes, and is sent. */
function send(prompt: Lookup, nowMs = 0): string {
  const [first] = router.route(prompt, workers, { nowMs, random });
  if (first !== undefined) router.sent(prompt, first, { n: 1, nowMs });
  return first?.worker ?? '';
}

const SYSTEM = 'Answer as the shop would, in two sentences. '.repeat(150);

describe('what this gateway sent', () => {
  test('requests at once with a prefix that nobody holds yet stay together', () => {
    const seen = new Set(Array.from({ length: 4 }, (_, i) => send(lookup(chat(SYSTEM, `Question ${i}?`)))));
    expect(seen.size).toBe(1);
  });

  test('many at once spread, as none may carry far more than the mean', () => {
    const counts = new Map<string, number>();
    for (let i = 0; i < 200; i++) {
      const worker = send(lookup(chat(SYSTEM, `Question ${i}?`)));
      counts.set(worker, (counts.get(worker) ?? 0) + 1);
    }
    expect(Math.max(...counts.values())).toBeLessThan(75);
  });

  test('different prompts spread', () => {
    const seen = new Set(Array.from({ length: 12 }, (_, i) => send(lookup(chat(`${i} ${SYSTEM}`, 'Question?')))));
    expect(seen.size).toBe(4);
  });

  test('counts until the next heartbeat, less what ended and what the pace says is done', () => {
    const prompt = lookup(chat(SYSTEM, 'Question?'));
    const holder = send(prompt);
    // One that is busy elsewhere is no better than the holder, once that has worked off what it was sent.
    for (let i = 0; i < 3; i++) router.ended(holder, 1);
    expect(send(prompt, 1000)).toBe(holder);
    // Its next heartbeat speaks of a queue that makes a prefix worthless.
    hear(beat(holder, { queuedPrefillTokens: 50_000 }), 1500);
    expect(send(prompt, 1500)).not.toBe(holder);
    expect(send(prompt, 4900)).not.toBe('');
  });

  test('a refusal takes the expectation back', () => {
    const prompt = lookup(chat(SYSTEM, 'Question?'));
    const [first] = router.route(prompt, workers, { nowMs: 0, random });
    if (first === undefined) throw new Error('no worker');
    router.sent(prompt, first, { n: 1, nowMs: 0 });
    router.refused(prompt, first.worker, 1);
    hear(first, 100);
    const seen = new Set<string>();
    for (let i = 0; i < 50; i++) seen.add(router.route(prompt, workers, { nowMs: 100, random })[0]?.worker ?? '');
    expect(seen.size).toBe(4);
  });
});

describe('prompts have nothing in common', () => {
  const prompt = chat(SYSTEM, 'Question?');
  test.each<[string, Partial<typeof head> & { templateValues?: Record<string, boolean> }]>([
    ['of two tenants', { tenant: 'u' }],
    ['of two salts', { cacheSalt: 'x' }],
    ['of two template values', { templateValues: { enable_thinking: false } }],
    ['of a tenant whose name continues in the salt', { tenant: 't","x', cacheSalt: '' }],
  ])('%s', (_, extra) => {
    const hashes = new Set(lookup(prompt).blocks.map(({ hash }) => hash));
    const others = lookupOf({ ...head, prompt, ...extra }).blocks;
    expect(others.length).toBe(hashes.size);
    expect(others.filter(({ hash }) => hashes.has(hash))).toEqual([]);
  });

  test('template values in another order are the same', () => {
    const [one, other] = [
      { a: 1, b: 2 },
      { b: 2, a: 1 },
    ].map((templateValues) => lookupOf({ ...head, prompt, templateValues }));
    expect(other).toEqual(one);
  });
});

test('the length of a token is learnt from what workers count', () => {
  const prompt = lookup(chat(SYSTEM, ''));
  for (let i = 0; i < 200; i++) router.admitted(prompt, Math.round(prompt.size / 2));
  // 3,300 tokens now, not 1,650: at 10,000 a second, a queue of 4,000 elsewhere is the longer wait of the two.
  const holder = send(prompt);
  hear(beat(holder, { queuedPrefillTokens: 4000 }), 0);
  expect(send(prompt)).toBe(holder);
  const other = new PrefixRouter();
  for (const worker of workers) other.heartbeat(worker, 0);
  other.sent(prompt, beat(holder), { n: 1, nowMs: 0 });
  other.heartbeat(beat(holder, { queuedPrefillTokens: 4000 }), 0);
  expect(other.route(prompt, workers, { nowMs: 0, random })[0]?.worker).not.toBe(holder);
});

test('a worker that is not known any more is not chosen for what it held', () => {
  const prompt = lookup(chat(SYSTEM, 'Question?'));
  const holder = send(prompt);
  router.forget(holder);
  const seen = new Set<string>();
  for (let i = 0; i < 50; i++) seen.add(router.route(prompt, workers, { nowMs: 0, random })[0]?.worker ?? '');
  expect(seen.size).toBe(4);
});

describe('what routing is compared with', () => {
  const prompt = lookup(chat(SYSTEM, 'Question?'));
  const firstsOf = (routing: Routing, busy: Heartbeat): ReadonlyMap<string, number> => {
    const other = new PrefixRouter(routing);
    const known = [busy, ...workers.slice(1)];
    for (const worker of known) other.heartbeat(worker, 0);
    other.sent(prompt, known[1] ?? busy, { n: 1, nowMs: 0 });
    const counts = new Map<string, number>();
    for (let i = 0; i < 400; i++) {
      const [first] = other.route(prompt, known, { nowMs: 60_000, random });
      counts.set(first?.worker ?? '', (counts.get(first?.worker ?? '') ?? 0) + 1);
    }
    return counts;
  };

  test('by load alone: no prefix draws, a queue repels', () => {
    const counts = firstsOf('least-loaded', beat('a', { queuedPrefillTokens: 10_000_000 }));
    expect([...counts.keys()].toSorted()).toEqual(['b', 'c', 'd']);
    expect(Math.min(...counts.values())).toBeGreaterThan(20);
  });

  test('at random: neither does', () => {
    const counts = firstsOf('random', beat('a', { queuedPrefillTokens: 10_000_000 }));
    expect([...counts.keys()].toSorted()).toEqual(['a', 'b', 'c', 'd']);
    expect(Math.min(...counts.values())).toBeGreaterThan(60);
  });

  test('its name is checked', () => {
    expect(routingNamed('random')).toBe('random');
    expect(() => routingNamed('fastest')).toThrow('ROUTING must be one of prefix, least-loaded, random');
  });
});
