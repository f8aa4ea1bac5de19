/** Where a prompt should go: what each worker holds of it, blended with its load. Counts what this gateway sent since the last heartbeats. Knows no NATS. */
import { blocksOf, promptSize, type PromptBlock } from '../../shared/block-hash.ts';
import type { Heartbeat, KvEvents, Prompt, Submit } from '../../shared/protocol.ts';
import { DEFAULT_PACE, rank, type Candidate } from './score.ts';
import { WorkerPrefixes, type PrefixMatch } from './worker-prefixes.ts';

/**
 * How a worker is chosen: by predicted wait and the prefixes that workers hold; by predicted wait alone; at random. The
 * latter two are there to be compared with.
 */
export const ROUTINGS = ['prefix', 'least-loaded', 'random'] as const;
export type Routing = (typeof ROUTINGS)[number];

export function routingNamed(name: string): Routing {
  const routing = ROUTINGS.find((each) => each === name);
  if (routing !== undefined) return routing;
  throw new Error(`ROUTING must be one of ${ROUTINGS.join(', ')}, not "${name}"`);
}

const NO_MATCHES: ReadonlyMap<string, PrefixMatch> = new Map();

/** Units of text in a token before any prompt was counted, and the weight of the newest prompt later. */
const UNITS_PER_TOKEN = 4;
const RATIO_WEIGHT = 0.05;

/** What was sent counts as recent: half of it after two thirds of this time. Milliseconds. */
const RECENT_MS = 20_000;

/** A prompt on its way to a worker. */
export interface Lookup {
  readonly blocks: readonly PromptBlock[];
  /** Units of text, or tokens. */
  readonly size: number;
  readonly inTokens: boolean;
}

/** A worker's load as it is thought to be now. */
interface LoadView {
  queuedTokens: number;
  atMs: number;
  /** Sequences begun here since the heartbeat, less those that ended. */
  sequences: number;
  /** Sequences begun here lately, fading. */
  recent: number;
}

/** What the prefix cache of a worker tells apart: the template's values change the prompt too. */
export function lookupOf({
  prompt,
  tenant,
  cacheSalt,
  templateValues,
}: Pick<Submit, 'prompt' | 'tenant' | 'cacheSalt' | 'templateValues'>): Lookup {
  const salt = JSON.stringify([tenant, cacheSalt, Object.entries(templateValues).toSorted()]);
  return { blocks: blocksOf(prompt, salt), size: promptSize(prompt), inTokens: isTokens(prompt) };
}

export class PrefixRouter {
  readonly #prefixes = new WorkerPrefixes();
  readonly #loads = new Map<string, LoadView>();
  readonly #routing: Routing;
  #unitsPerToken = UNITS_PER_TOKEN;

  constructor(routing: Routing = 'prefix') {
    this.#routing = routing;
  }

  /** True when the worker's prefixes are not known: ask it for a snapshot. */
  heartbeat({ worker, epoch, load }: Heartbeat, nowMs: number): boolean {
    const { recent } = this.#drained({ worker, load }, nowMs);
    this.#loads.set(worker, { queuedTokens: load.queuedPrefillTokens, atMs: nowMs, sequences: 0, recent });
    return this.#prefixes.begin(worker, epoch);
  }

  forget(worker: string): void {
    this.#prefixes.forget(worker);
    this.#loads.delete(worker);
  }

  /** True: ask for a snapshot. */
  receive(events: KvEvents): boolean {
    return this.#prefixes.receive(events);
  }

  /** True: ask again. */
  restore(snapshot: KvEvents): boolean {
    return this.#prefixes.restore(snapshot);
  }

  /** `workers` in the order to try them. */
  route(
    lookup: Lookup,
    workers: readonly Heartbeat[],
    { nowMs, random }: { readonly nowMs: number; readonly random: () => number },
  ): readonly Heartbeat[] {
    if (this.#routing === 'random') return shuffled(workers, random);
    const matches = this.#matches(lookup, nowMs);
    const candidates = workers.map((heartbeat): Candidate => {
      const { worker, load, limits } = heartbeat;
      const match = matches.get(worker);
      const { queuedTokens, sequences, recent } = this.#drained(heartbeat, nowMs);
      return {
        worker,
        matchedTokens: match === undefined ? 0 : (match.tokens ?? this.#tokens(match.size, lookup)),
        queuedTokens,
        tokensPerSecond: load.prefillTokensPerSecond ?? null,
        sequences: Math.max(0, load.running + load.waiting + sequences),
        maxSequences: limits.maxSequences,
        recent,
      };
    });
    const byId = new Map(workers.map((heartbeat) => [heartbeat.worker, heartbeat]));
    return rank(this.#tokens(lookup.size, lookup), candidates, random).flatMap((worker) => byId.get(worker) ?? []);
  }

  /** A request of `n` choices goes to this worker. */
  sent(lookup: Lookup, heartbeat: Heartbeat, { n, nowMs }: { readonly n: number; readonly nowMs: number }): void {
    const { worker } = heartbeat;
    const match = this.#matches(lookup, nowMs).get(worker);
    const view = this.#drained(heartbeat, nowMs);
    view.queuedTokens += this.#tokens(lookup.size - (match?.size ?? 0), lookup);
    view.sequences += n;
    view.recent += n;
    this.#prefixes.expect(worker, lookup.blocks, nowMs);
  }

  /** The worker took it, and knows its tokens. */
  admitted({ size, inTokens }: Lookup, promptTokens: number): void {
    if (inTokens || size === 0 || promptTokens === 0) return;
    this.#unitsPerToken += (size / promptTokens - this.#unitsPerToken) * RATIO_WEIGHT;
  }

  refused({ blocks }: Lookup, worker: string, n: number): void {
    this.#prefixes.unexpect(worker, blocks);
    const view = this.#loads.get(worker);
    if (view !== undefined) view.recent = Math.max(0, view.recent - n);
    this.ended(worker, n);
  }

  /** A request of `n` choices ended there. */
  ended(worker: string, n: number): void {
    const view = this.#loads.get(worker);
    if (view !== undefined) view.sequences -= n;
  }

  #matches({ blocks }: Lookup, nowMs: number): ReadonlyMap<string, PrefixMatch> {
    return this.#routing === 'prefix' ? this.#prefixes.lookup(blocks, nowMs) : NO_MATCHES;
  }

  /** The queue as it is now if prompts went at the worker's pace. */
  #drained({ worker, load }: Pick<Heartbeat, 'worker' | 'load'>, nowMs: number): LoadView {
    const { queuedPrefillTokens: queuedTokens } = load;
    const view = this.#loads.get(worker) ?? { queuedTokens, atMs: nowMs, sequences: 0, recent: 0 };
    this.#loads.set(worker, view);
    const sinceMs = Math.max(0, nowMs - view.atMs);
    const done = (sinceMs / 1000) * (load.prefillTokensPerSecond ?? DEFAULT_PACE);
    view.queuedTokens = Math.max(0, view.queuedTokens - done);
    view.recent *= Math.exp(-sinceMs / RECENT_MS);
    view.atMs = nowMs;
    return view;
  }

  #tokens(size: number, { inTokens }: Lookup): number {
    return inTokens ? size : size / this.#unitsPerToken;
  }
}

function shuffled<T>(items: readonly T[], random: () => number): readonly T[] {
  return items
    .map((item) => ({ item, key: random() }))
    .toSorted((a, b) => a.key - b.key)
    .map(({ item }) => item);
}

function isTokens({ type }: Prompt): boolean {
  return type === 'tokens';
}
