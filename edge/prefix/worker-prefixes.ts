/**
 * Which text blocks each worker's KV cache holds, by the events it sends. Bounded, and wrong at worst: a message that
 * lies costs a better route, no more. Knows no NATS, no text and no loads.
 */
import type { PromptBlock } from '../../shared/block-hash.ts';
import type { KvEvents } from '../../shared/protocol.ts';

/** Beyond so many workers the first known is forgotten. */
const MAX_WORKERS = 1_024;
/** Of one worker; beyond it the oldest ones are forgotten. */
const MAX_BLOCKS = 16_384;
/** Events kept that came while a snapshot was on its way. */
const MAX_HELD_BACK = 16;
/** What was sent to a worker counts as held there for so long without word from it: it may stand in a queue. Milliseconds. */
const EXPECT_MS = 30_000;

/** The longest prefix that a worker holds. */
export interface PrefixMatch {
  /** Units of the prompt. */
  readonly size: number;
  /** Null: not there yet, but on its way. */
  readonly tokens: number | null;
}

interface Held {
  readonly tokens: number | null;
  readonly untilMs: number;
}

interface WorkerView {
  readonly worker: string;
  readonly epoch: string;
  readonly blocks: Map<string, Held>;
  /** Number of the last event taken in; null: nothing is known before a snapshot. */
  event: number | null;
  heldBack: KvEvents[];
  /** The look-up that has found it already. */
  seenIn: number;
}

export class WorkerPrefixes {
  readonly #views = new Map<string, WorkerView>();
  /** Who holds a block. */
  readonly #holders = new Map<string, WorkerView[]>();
  #lookups = 0;

  /** True when nothing is known of this incarnation: ask it for a snapshot. */
  begin(worker: string, epoch: string): boolean {
    const known = this.#views.get(worker);
    if (known?.epoch === epoch) return known.event === null;
    this.forget(worker);
    const [first] = this.#views.keys();
    if (this.#views.size >= MAX_WORKERS && first !== undefined) this.forget(first);
    this.#views.set(worker, { worker, epoch, blocks: new Map(), event: null, heldBack: [], seenIn: 0 });
    return true;
  }

  forget(worker: string): void {
    const view = this.#views.get(worker);
    if (view === undefined) return;
    this.#clear(view);
    this.#views.delete(worker);
  }

  /** True when events before this one are missing: ask for a snapshot. Unknown workers and incarnations are ignored. */
  receive(events: KvEvents): boolean {
    const view = this.#views.get(events.worker);
    if (view === undefined || view.epoch !== events.epoch) return false;
    if (view.event !== null && events.event === view.event + 1) {
      this.#apply(view, events);
      return false;
    }
    view.event = null;
    if (view.heldBack.length < MAX_HELD_BACK) view.heldBack.push(events);
    return true;
  }

  /** Takes in a snapshot, and the events that came since; true when it is already too old. */
  restore(snapshot: KvEvents): boolean {
    const view = this.#views.get(snapshot.worker);
    if (view === undefined || view.epoch !== snapshot.epoch) return false;
    this.#clear(view);
    this.#apply(view, snapshot);
    const since = view.heldBack.filter(({ event }) => event > snapshot.event);
    view.heldBack = [];
    return since.map((events) => this.receive(events)).includes(true);
  }

  /** A request with these blocks was sent to the worker. */
  expect(worker: string, blocks: readonly PromptBlock[], nowMs: number): void {
    const view = this.#views.get(worker);
    if (view === undefined) return;
    for (const { hash } of blocks) {
      const tokens = view.blocks.get(hash)?.tokens ?? null;
      if (tokens === null) this.#hold(view, hash, { tokens, untilMs: nowMs + EXPECT_MS });
    }
  }

  /** The worker did not take it. */
  unexpect(worker: string, blocks: readonly PromptBlock[]): void {
    const view = this.#views.get(worker);
    if (view === undefined) return;
    for (const { hash } of blocks) if (view.blocks.get(hash)?.tokens === null) this.#drop(view, hash);
  }

  /** By worker. Costs a look at each block, not at each worker. */
  lookup(blocks: readonly PromptBlock[], nowMs: number): ReadonlyMap<string, PrefixMatch> {
    const found = new Map<string, PrefixMatch>();
    const lookup = ++this.#lookups;
    for (let i = blocks.length - 1; i >= 0; i--) {
      const block = blocks[i];
      for (const view of this.#holders.get(block?.hash ?? '') ?? []) {
        if (block === undefined || view.seenIn === lookup) continue;
        const held = view.blocks.get(block.hash);
        if (held === undefined || held.untilMs < nowMs) continue;
        view.seenIn = lookup;
        found.set(view.worker, { size: block.size, tokens: held.tokens });
      }
    }
    return found;
  }

  #apply(view: WorkerView, { event, stored, evicted }: KvEvents): void {
    view.event = event;
    for (const hash of evicted) this.#drop(view, hash);
    for (const [hash, tokens] of stored) this.#hold(view, hash, { tokens, untilMs: Number.POSITIVE_INFINITY });
  }

  #hold(view: WorkerView, hash: string, held: Held): void {
    if (!view.blocks.delete(hash)) {
      const holders = this.#holders.get(hash);
      if (holders === undefined) this.#holders.set(hash, [view]);
      else holders.push(view);
    }
    view.blocks.set(hash, held);
    const [oldest] = view.blocks.keys();
    if (view.blocks.size > MAX_BLOCKS && oldest !== undefined) this.#drop(view, oldest);
  }

  #drop(view: WorkerView, hash: string): void {
    if (!view.blocks.delete(hash)) return;
    const holders = this.#holders.get(hash)?.filter((each) => each !== view) ?? [];
    if (holders.length > 0) this.#holders.set(hash, holders);
    else this.#holders.delete(hash);
  }

  #clear(view: WorkerView): void {
    for (const hash of view.blocks.keys()) this.#drop(view, hash);
  }
}
