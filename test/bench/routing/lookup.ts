/** How long the gateway looks for a prompt's prefixes: 256 blocks that 16 workers hold, and the whole decision. */
import { PrefixRouter, type Lookup } from '../../../edge/prefix/router.ts';
import { WorkerPrefixes } from '../../../edge/prefix/worker-prefixes.ts';
import { blocksOf, MAX_BLOCKS } from '../../../shared/block-hash.ts';
import type { Heartbeat, KvEvents } from '../../../shared/protocol.ts';
import { percentile } from '../rounds.ts';
import { figure, type Measure, type Report } from './measure.ts';

const WORKERS = 16;
const PROMPTS = 64;
const CALLS = 20_000;
const WARM_UP = 2_000;

/** Every worker holds all blocks of every prompt but its last `worker` ones: none is found at the first look alone. */
export const lookup: Measure = async (_options, show): Promise<Report> => {
  show(`${WORKERS} workers, ${PROMPTS} prompts of ${MAX_BLOCKS} blocks`);
  const ids = (prompt: number) => Array.from({ length: 200_000 }, (_, i) => (i * 31 + prompt) % 50_000);
  const prompts = Array.from({ length: PROMPTS }, (_, i): Lookup => {
    const blocks = blocksOf({ type: 'tokens', ids: ids(i) }, 'tenant').slice(0, MAX_BLOCKS);
    return { blocks, size: blocks.at(-1)?.size ?? 0, inTokens: true };
  });
  const names = Array.from({ length: WORKERS }, (_, i) => `w${i}`);
  const events = names.map((worker, i): KvEvents => {
    const stored = prompts.flatMap(({ blocks }) =>
      blocks.slice(0, blocks.length - i).map(({ hash, size }): [string, number] => [hash, size]),
    );
    return { v: 1, worker, epoch: 'e', shard: 's', event: 0, stored, evicted: [] };
  });
  const prefixes = new WorkerPrefixes();
  for (const each of events) {
    prefixes.begin(each.worker, 'e');
    prefixes.restore(each);
  }
  const router = new PrefixRouter();
  const heartbeats = names.map(heartbeatOf);
  for (const [i, heartbeat] of heartbeats.entries()) {
    router.heartbeat(heartbeat, 0);
    router.restore(events[i] as KvEvents);
  }
  const matches = prefixes.lookup(prompts[0]?.blocks ?? [], 0);
  if (matches.size !== WORKERS) throw new Error(`the index found ${matches.size} of ${WORKERS} workers`);
  const now = { nowMs: 0, random: Math.random };
  const found = timed((i) => prefixes.lookup(prompts[i % PROMPTS]?.blocks ?? [], 0));
  const routed = timed((i) => router.route(prompts[i % PROMPTS] as Lookup, heartbeats, now));
  const details = { workers: WORKERS, blocks: MAX_BLOCKS, prompts: PROMPTS, calls: CALLS };
  return {
    figures: [
      timeFigure('index lookup, 256 blocks × 16 workers', found, { atMost: 0.2 }, details),
      timeFigure('index lookup and score', routed, null, details),
    ],
  };
};

function timeFigure(name: string, times: readonly number[], must: { readonly atMost: number } | null, details: object) {
  const p99Ms = percentile(times, 0.99);
  const mean = times.reduce((sum, each) => sum + each, 0) / times.length;
  return figure(name, {
    unit: 'ms',
    values: [mean],
    must,
    details: { ...details, p50Ms: percentile(times, 0.5), p99Ms },
  });
}

function timed(call: (i: number) => unknown): readonly number[] {
  const times: number[] = [];
  for (let i = -WARM_UP; i < CALLS; i++) {
    const begin = performance.now();
    call(i + WARM_UP);
    if (i >= 0) times.push(performance.now() - begin);
  }
  return times;
}

function heartbeatOf(worker: string): Heartbeat {
  return {
    ...{ v: 1, worker, epoch: 'e', models: ['m'], fingerprint: 'f', status: 'ready', created: 0 },
    limits: { maxSequences: 64, maxModelLen: 262_144, kvTokens: 10_000_000 },
    load: { running: 3, waiting: 0, queuedPrefillTokens: 100, kvTokens: 0, prefillTokensPerSecond: 10_000 },
    step: { completed: 0, atMs: 0 },
  };
}
