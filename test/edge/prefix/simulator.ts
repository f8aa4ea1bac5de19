/**
 * Test support: a small discrete-event simulator of a fleet. Workers compute prompts one after the other at a fixed
 * pace, hold exact least-recently-used prefix caches of whole tenant prompts, and decode in parallel. Gateways know
 * heartbeats of up to a second ago, their own tenants' KV events, and what they sent.
 */
import { PrefixRouter, type Lookup, type Routing } from '../../../edge/prefix/router.ts';
import { Registry } from '../../../edge/registry.ts';
import type { PromptBlock } from '../../../shared/block-hash.ts';
import type { Heartbeat, KvEvents } from '../../../shared/protocol.ts';
import { seeded } from '../../support/seeded.ts';

export interface SimulationOptions {
  readonly policy: Routing;
  readonly workers: number;
  readonly gateways: number;
  /** Share of the traffic of tenant k goes by 1 / (k + 1) ** skew. */
  readonly skew: number;
  readonly requests: number;
  /** Of the whole fleet. */
  readonly requestsPerSecond: number;
  readonly seed: number;
}

export interface SimulationResult {
  readonly meanTtftMs: number;
  readonly p99TtftMs: number;
  /** Of prompt tokens. */
  readonly hitRate: number;
  /** Busiest worker's requests, and time spent on prompts, over the mean. */
  readonly requestImbalance: number;
  readonly workImbalance: number;
}

export const TENANTS = 60;
const SYSTEM_TOKENS = 1_500;
const [LEAST_USER_TOKENS, MOST_USER_TOKENS] = [50, 250];
const TOKENS_PER_SECOND = 20_000;
/** Of one worker's cache: 24 of the 60 tenants' prompts. */
const CACHE_TOKENS = 24 * SYSTEM_TOKENS;
const DECODE_MS = 1_500;
const MAX_SEQUENCES = 64;
const HEARTBEAT_MS = 1_000;
/** One way over the bus. */
const BUS_MS = 1;

interface Event {
  readonly atMs: number;
  readonly run: () => void;
}

/** A binary heap by time. */
class Calendar {
  nowMs = 0;
  readonly #heap: Event[] = [];

  at(atMs: number, run: () => void): void {
    const heap = this.#heap;
    heap.push({ atMs, run });
    for (let i = heap.length - 1; i > 0;) {
      const parent = (i - 1) >> 1;
      if ((heap[parent]?.atMs ?? 0) <= (heap[i]?.atMs ?? 0)) break;
      [heap[parent], heap[i]] = [heap[i] as Event, heap[parent] as Event];
      i = parent;
    }
  }

  run(done: () => boolean): void {
    const heap = this.#heap;
    while (!done()) {
      const [next] = heap;
      const last = heap.pop();
      if (next === undefined || last === undefined) return;
      if (heap.length > 0) this.#sink(last);
      this.nowMs = next.atMs;
      next.run();
    }
  }

  #sink(event: Event): void {
    const heap = this.#heap;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if ((heap[child + 1]?.atMs ?? Infinity) < (heap[child]?.atMs ?? 0)) child++;
      if ((heap[child]?.atMs ?? 0) >= event.atMs) break;
      heap[i] = heap[child] as Event;
      i = child;
    }
    heap[i] = event;
  }
}

interface Arrival {
  readonly tenant: number;
  readonly promptTokens: number;
  readonly atMs: number;
}

class SimulatedWorker {
  readonly id: string;
  requests = 0;
  workMs = 0;
  #sequences = 0;
  /** The first one is being computed. */
  readonly #line: (() => void)[] = [];
  #queued = 0;
  #event = 0;
  /** Tenants, least recently used first. */
  readonly #cache = new Set<number>();
  readonly #calendar: Calendar;
  readonly #publish: (events: KvEvents, tenant: number) => void;

  constructor(id: string, calendar: Calendar, publish: (events: KvEvents, tenant: number) => void) {
    this.id = id;
    this.#calendar = calendar;
    this.#publish = publish;
  }

  heartbeat(): Heartbeat {
    const load = { running: this.#sequences, waiting: 0, queuedPrefillTokens: this.#queued, kvTokens: 0 };
    return {
      ...{ v: 1, worker: this.id, epoch: 'e', models: ['m'], fingerprint: 'f', status: 'ready', created: 0 },
      limits: { maxSequences: MAX_SEQUENCES, maxModelLen: 4096, kvTokens: CACHE_TOKENS },
      load: { ...load, prefillTokensPerSecond: TOKENS_PER_SECOND },
      step: { completed: 0, atMs: 0 },
    };
  }

  take({ tenant, promptTokens }: Arrival, first: (cachedTokens: number) => void, ended: () => void): void {
    this.requests++;
    this.#sequences++;
    const expected = promptTokens - (this.#cache.has(tenant) ? SYSTEM_TOKENS : 0);
    this.#queued += expected;
    // Whether the prefix is there is decided when its turn comes.
    const start = () => {
      const cached = this.#cache.has(tenant) ? SYSTEM_TOKENS : 0;
      const ms = ((promptTokens - cached) / TOKENS_PER_SECOND) * 1000;
      this.workMs += ms;
      const doneMs = this.#calendar.nowMs + ms;
      this.#calendar.at(doneMs, () => {
        this.#queued -= expected;
        this.#use(tenant);
        first(cached);
        this.#next();
      });
      this.#calendar.at(doneMs + DECODE_MS, () => {
        this.#sequences--;
        ended();
      });
    };
    this.#line.push(start);
    if (this.#line.length === 1) start();
  }

  #next(): void {
    this.#line.shift();
    this.#line[0]?.();
  }

  #use(tenant: number): void {
    const evicted: number[] = [];
    if (!this.#cache.delete(tenant)) this.#tell(tenant, 'stored');
    this.#cache.add(tenant);
    for (const oldest of this.#cache) {
      if (this.#cache.size * SYSTEM_TOKENS <= CACHE_TOKENS) break;
      this.#cache.delete(oldest);
      evicted.push(oldest);
    }
    for (const each of evicted) this.#tell(each, 'evicted');
  }

  /** One shard for the numbers of all: the simulated bus loses nothing. */
  #tell(tenant: number, what: 'stored' | 'evicted'): void {
    const block = hashOf(tenant);
    const changes =
      what === 'stored'
        ? { stored: [[block, SYSTEM_TOKENS] as [string, number]], evicted: [] }
        : { stored: [], evicted: [block] };
    this.#publish({ v: 1, worker: this.id, epoch: 'e', shard: 's', event: ++this.#event, ...changes }, tenant);
  }
}

function hashOf(tenant: number): string {
  return tenant.toString(16).padStart(16, '0');
}

function lookupFor({ tenant, promptTokens }: Arrival): Lookup {
  const block: PromptBlock = { hash: hashOf(tenant), message: 0, end: 4 * SYSTEM_TOKENS, size: 4 * SYSTEM_TOKENS };
  return { blocks: [block], size: 4 * promptTokens, inTokens: false };
}

/** A gateway under one policy. */
class SimulatedGateway {
  readonly router: PrefixRouter;
  readonly #registry = new Registry();
  readonly #random: () => number;

  constructor(policy: Routing, random: () => number) {
    this.router = new PrefixRouter(policy);
    this.#random = random;
  }

  hear(heartbeat: Heartbeat, nowMs: number): void {
    this.#registry.see(heartbeat, nowMs);
    if (this.router.heartbeat(heartbeat, nowMs)) {
      this.router.restore({
        v: 1,
        worker: heartbeat.worker,
        epoch: 'e',
        shard: 's',
        event: 0,
        stored: [],
        evicted: [],
      });
    }
  }

  choose(arrival: Arrival, nowMs: number): string {
    const workers = this.#registry.ready('m', nowMs);
    const lookup = lookupFor(arrival);
    const [best] = this.router.route(lookup, workers, { nowMs, random: this.#random });
    if (best !== undefined) this.router.sent(lookup, best, { n: 1, nowMs });
    return best?.worker ?? '';
  }
}

export function simulate(options: SimulationOptions): SimulationResult {
  const random = seeded(options.seed);
  const calendar = new Calendar();
  const gateways = Array.from({ length: options.gateways }, () => new SimulatedGateway(options.policy, random));
  const numbers = new Map<string, number>();
  const publish = (events: KvEvents, tenant: number) => {
    const gateway = tenant % options.gateways;
    const key = `${gateway}/${events.worker}`;
    const event = (numbers.get(key) ?? 0) + 1;
    numbers.set(key, event);
    calendar.at(calendar.nowMs + BUS_MS, () => gateways[gateway]?.router.receive({ ...events, event }));
  };
  const workers = Array.from({ length: options.workers }, (_, i) => new SimulatedWorker(`w${i}`, calendar, publish));
  for (const worker of workers) {
    const beat = () => {
      const heartbeat = worker.heartbeat();
      for (const gateway of gateways) gateway.hear(heartbeat, calendar.nowMs);
      calendar.at(calendar.nowMs + HEARTBEAT_MS, beat);
    };
    beat();
    // Apart from each other, as processes are.
    calendar.at(random() * HEARTBEAT_MS, beat);
  }
  const weights = Array.from({ length: TENANTS }, (_, k) => 1 / (k + 1) ** options.skew);
  const ttfts: number[] = [];
  let [cached, prompted, arrived] = [0, 0, 0];
  const warmUp = options.requests / 5;
  const arrive = () => {
    const userTokens = LEAST_USER_TOKENS + Math.floor(random() * (MOST_USER_TOKENS - LEAST_USER_TOKENS));
    const promptTokens = SYSTEM_TOKENS + userTokens;
    const arrival = { tenant: pick(weights, random), promptTokens, atMs: calendar.nowMs };
    const measured = arrived++ >= warmUp;
    const gateway = gateways[arrival.tenant % options.gateways];
    const choice = gateway?.choose(arrival, calendar.nowMs);
    const chosen = workers.find(({ id }) => id === choice);
    calendar.at(calendar.nowMs + BUS_MS, () =>
      chosen?.take(
        arrival,
        (hit) => {
          if (!measured) return;
          ttfts.push(calendar.nowMs - arrival.atMs);
          cached += hit;
          prompted += arrival.promptTokens;
        },
        () => gateway?.router.ended(chosen.id, 1),
      ),
    );
    const gapMs = (-Math.log(1 - random()) / options.requestsPerSecond) * 1000;
    if (arrived < options.requests) calendar.at(calendar.nowMs + gapMs, arrive);
  };
  calendar.at(0, arrive);
  calendar.run(() => ttfts.length >= options.requests - warmUp - 1);
  ttfts.sort((a, b) => a - b);
  const imbalance = (values: readonly number[]) => (Math.max(...values) * values.length) / sum(values);
  return {
    meanTtftMs: sum(ttfts) / ttfts.length,
    p99TtftMs: ttfts[Math.floor(0.99 * ttfts.length)] ?? 0,
    hitRate: cached / prompted,
    requestImbalance: imbalance(workers.map(({ requests }) => requests)),
    workImbalance: imbalance(workers.map(({ workMs }) => workMs)),
  };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function pick(weights: readonly number[], random: () => number): number {
  let left = random() * sum(weights);
  const found = weights.findIndex((weight) => (left -= weight) < 0);
  return found < 0 ? weights.length - 1 : found;
}
