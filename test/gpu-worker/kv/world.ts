/**
 * The reference model of the KV contract: live sequences, plans in flight and simulated memory, driven as a scheduler
 * drives them. After every operation it checks the cache against what it knows. Knows the cache by its contract only.
 */
import { expect } from 'vitest';
import { PINNED_SHARE, type KvCache, type KvCopy, type KvOwner } from '../../../gpu-worker/kv/kv-cache.ts';
import { Memory, SALTS, type Salt, type SimulatedPlan, type SimulatedRow } from './memory.ts';
import { seeded } from '../../support/seeded.ts';

export interface Geometry {
  readonly kind: 'slots' | 'blocks';
  readonly blocks: number;
  readonly blockSize: number;
  readonly capacity: number;
  /** Longest sequence. */
  readonly longest: number;
  /** Most sequences at once. */
  readonly running: number;
}

interface LiveSequence {
  readonly number: number;
  readonly salt: Salt;
  /** Every token it will ever have. */
  readonly stream: Int32Array;
  committed: number;
  inFlight: number;
  /** A row with drafts is out: nothing follows it. */
  verifying: boolean;
  reserved: number;
}

/** What a sequence once was: later ones may resemble it. */
interface History {
  readonly salt: Salt;
  readonly stream: Int32Array;
}

/** A released sequence whose blocks must rest until its last plan has retired. */
interface RestingSequence {
  readonly blocks: Int32Array;
  readonly reserved: number;
  readonly until: number;
}

export interface Arrival {
  /** Which earlier sequence it resembles, and how much of it: a fraction. */
  readonly like: number;
  readonly share: number;
  /** Tokens of its own. */
  readonly own: number;
  /** Null: that of the sequence it resembles. */
  readonly salt: Salt | null;
  /** Tokens to reserve at once; 0 = its prompt. */
  readonly chunk: number;
  /** Fraction of its prompt that is pinned. */
  readonly pinned: number;
  readonly seed: number;
}

const PIECE = 16;
const MAX_HISTORIES = 12;

export class World {
  readonly geometry: Geometry;
  readonly memory: Memory;
  /** What came to pass: a suite in which something never does proves nothing about it. */
  readonly seen = { refusals: 0, reuses: 0, copies: 0, arranged: 0, cuts: 0, drops: 0, rested: 0, pins: 0 };
  readonly live: LiveSequence[] = [];
  readonly plans: SimulatedPlan[] = [];
  #resting: RestingSequence[] = [];
  #copies: KvCopy[] = [];
  #histories: History[] = [];
  #lastPlan = 0;
  #lastNumber = 0;

  constructor(geometry: Geometry) {
    this.geometry = geometry;
    this.memory = new Memory(geometry.blocks, geometry.blockSize);
  }

  admit(kv: KvCache, arrival: Arrival): void {
    const { salt, stream } = this.#arriving(arrival);
    const prompt = stream.subarray(0, Math.max(1, stream.length - 24));
    const pinned = Math.floor(prompt.length * arrival.pinned);
    const owner = { sequence: ++this.#lastNumber, salt, tokens: prompt, pinned };
    const upTo = arrival.chunk > 0 ? Math.min(arrival.chunk, prompt.length) : prompt.length;
    const matched = kv.match(owner);
    const before = this.#observe(kv);
    const admission = kv.admit(owner, upTo);
    if (admission === null) {
      this.seen.refusals++;
      expect(this.#mayRefuse(upTo, before), `refused ${upTo} tokens`).toBe(true);
      expect(this.#observe(kv)).toEqual(before);
      expect(kv.match(owner)).toBe(matched);
      return;
    }
    const { cached, copies } = admission;
    const limit = Math.min(prompt.length - 1, upTo);
    expect(cached).toBeLessThanOrEqual(limit);
    expect(cached).toBeGreaterThanOrEqual(this.#bestLive(owner, limit));
    if (upTo === prompt.length) expect(cached).toBe(matched);
    const [block] = kv.blocks(owner.sequence);
    if (this.geometry.kind === 'slots') expect(block).toBe(this.#lowestHole(kv));
    const { sequence: number } = owner;
    this.live.push({ number, salt, stream, committed: cached, inFlight: 0, verifying: false, reserved: upTo });
    this.#copies.push(...copies);
    this.seen.copies += copies.length;
    if (cached > 0) this.seen.reuses++;
    if (kv.usage().cached < before.usage.cached) this.seen.cuts++;
    this.#remember({ salt, stream });
  }

  /** A step in which each sequence takes part with a row of its own kind. */
  launch(kv: KvCache, seed: number): void {
    if (this.plans.length >= 2) return;
    const random = seeded(seed);
    const rows: SimulatedRow[] = [];
    for (const sequence of this.live) {
      const row = this.#plan(kv, sequence, random);
      if (row !== null) rows.push(row);
    }
    if (rows.length === 0) return;
    const plan = { id: ++this.#lastPlan, copies: this.#copies, drops: kv.takeDrops(), rows };
    this.#copies = [];
    this.seen.drops += plan.drops.length;
    for (const earlier of this.plans) for (const row of earlier.rows) this.#checkUndisturbed(row, plan);
    this.plans.push(plan);
  }

  /** The oldest plan is done: memory changes, then the sequences. */
  collect(kv: KvCache): void {
    const plan = this.plans.shift();
    if (plan === undefined) return;
    this.memory.execute(plan);
    if (this.geometry.kind === 'slots') expect(this.memory.used).toBeLessThanOrEqual(this.geometry.capacity);
    kv.retire(plan.id);
    this.#resting = this.#resting.filter(({ until }) => until > plan.id);
    for (const { sequence: number, right, refused } of plan.rows) {
      const sequence = this.live.find((each) => each.number === number);
      if (sequence === undefined) continue;
      sequence.inFlight -= right + refused;
      if (refused > 0) sequence.verifying = false;
      sequence.committed += right;
      // What follows is not known yet: whoever looks at it fails.
      const known = Int32Array.from(sequence.stream, (token, i) => (i < sequence.committed ? token : -7));
      kv.commit(number, known, sequence.committed);
    }
  }

  release(kv: KvCache, which: number): void {
    const [sequence] = this.live.splice(which % Math.max(1, this.live.length), 1);
    if (sequence === undefined) return;
    const until = this.plans.length > 0 ? this.#lastPlan : 0;
    const { number, reserved } = sequence;
    if (until > 0) {
      this.seen.rested++;
      this.#resting.push({ blocks: kv.blocks(number).slice(), reserved, until });
    }
    kv.release(number, until);
    expect(() => kv.release(number, until)).toThrow(/holds no/);
    expect(() => kv.blocks(number)).toThrow(/holds no/);
  }

  reserve(kv: KvCache, which: number, more: number): void {
    const sequence = this.live[which % Math.max(1, this.live.length)];
    if (sequence !== undefined) this.#reserve(kv, sequence, sequence.reserved + more);
  }

  arrange(kv: KvCache): void {
    if (this.plans.length > 0) return;
    const before = this.live.map(({ number }) => kv.blocks(number)[0] ?? 0);
    const hole = this.#lowestHole(kv);
    this.#copies.push(...kv.arrange());
    const after = this.live.map(({ number }) => kv.blocks(number)[0] ?? 0);
    const highest = Math.max(...before);
    const moves = this.geometry.kind === 'slots' && hole < highest;
    if (moves) this.seen.arranged++;
    expect(after).toEqual(before.map((slot) => (moves && slot === highest ? hole : slot)));
  }

  clear(kv: KvCache): void {
    kv.clear();
    expect(kv.usage().cached).toBe(0);
    const left = this.#histories.flatMap(({ stream }) => SALTS.map((salt) => ({ sequence: 0, salt, tokens: stream })));
    for (const owner of left) expect(kv.match(owner)).toBe(this.#bestLive(owner, owner.tokens.length - 1));
  }

  /** A failed step: no plan has happened, no KV is trusted. */
  rollback(kv: KvCache): void {
    this.memory.spoil();
    this.plans.length = 0;
    this.#copies = [];
    kv.retire(this.#lastPlan);
    this.#resting = [];
    for (const { number } of this.live.splice(0)) kv.release(number, 0);
    this.clear(kv);
  }

  /** Everything comes back. */
  drain(kv: KvCache): void {
    while (this.plans.length > 0) this.collect(kv);
    while (this.live.length > 0) this.release(kv, 0);
    this.check(kv);
    expect(kv.usage().live).toBe(0);
    this.clear(kv);
    const { running, capacity, longest, kind } = this.geometry;
    const count = kind === 'slots' ? running : 1;
    const upTo = Math.min(longest, Math.floor(capacity / count));
    for (let i = 1; i <= count; i++) {
      expect(kv.admit({ sequence: -i, salt: '', tokens: Int32Array.of(i) }, upTo)).toEqual({ cached: 0, copies: [] });
    }
    expect(kv.usage().live).toBe(count * upTo);
  }

  /** What holds after every operation. */
  check(kv: KvCache): void {
    expect(kv.violations()).toEqual([]);
    const { live, cached, pinned, capacity } = kv.usage();
    expect(capacity).toBe(this.geometry.capacity);
    expect(live).toBe(this.#liveTokens(kv));
    expect(live + cached).toBeLessThanOrEqual(capacity);
    expect(pinned).toBeLessThanOrEqual(Math.min(cached, capacity * PINNED_SHARE));
    if (pinned > 0) this.seen.pins++;
    if (this.plans.length > 0 || this.#copies.length > 0) return;
    for (const sequence of this.live) {
      const { number, salt, stream, committed } = sequence;
      const blocks = kv.blocks(number);
      const row = { sequence: number, salt, stream, blocks, blocksThen: [], right: 0, refused: 0 };
      this.memory.checkHeld(row, committed);
    }
  }

  #arriving({ like, share, own, salt, seed }: Arrival): History {
    const random = seeded(seed);
    const old = this.#histories[like % Math.max(1, this.#histories.length)] ?? { salt: '', stream: new Int32Array() };
    const kept = old.stream.subarray(0, Math.floor(old.stream.length * share));
    const tokens = [...kept, ...Array.from({ length: own }, () => Math.floor(random() * 3))];
    return { salt: salt ?? old.salt, stream: Int32Array.from(tokens.slice(0, this.geometry.longest)) };
  }

  #remember(history: History): void {
    this.#histories.push(history);
    if (this.#histories.length > MAX_HISTORIES) this.#histories.shift();
  }

  #plan(kv: KvCache, sequence: LiveSequence, random: () => number): SimulatedRow | null {
    const start = sequence.committed + sequence.inFlight;
    const left = sequence.stream.length - start;
    const kind = Math.floor(random() * 8);
    if (left < 1 || sequence.verifying || kind === 0) return null;
    const right = kind < 3 ? 1 : Math.min(left, 1 + Math.floor(random() * 64));
    const refused = kind === 2 ? Math.min(Math.floor(random() * 6), this.geometry.longest - start - right) : 0;
    if (!this.#reserve(kv, sequence, start + right + refused)) return null;
    sequence.inFlight += right + refused;
    sequence.verifying = refused > 0;
    const blocks = kv.blocks(sequence.number);
    expect(kv.blocks(sequence.number)).toBe(blocks);
    const { number, salt, stream } = sequence;
    return { sequence: number, salt, blocks, blocksThen: [...blocks], start, stream, right, refused };
  }

  #reserve(kv: KvCache, sequence: LiveSequence, upTo: number): boolean {
    const { number, reserved } = sequence;
    const before = this.#observe(kv);
    const fits = kv.reserve(number, upTo);
    if (fits) sequence.reserved = Math.max(reserved, upTo);
    else {
      this.seen.refusals++;
      expect(this.#observe(kv)).toEqual(before);
    }
    const more = this.geometry.kind === 'slots' ? upTo - reserved : this.#blocksFor(upTo) - this.#blocksFor(reserved);
    const tooMany = more > 0 && (this.#freeBefore(before) < more || upTo > this.#longestHeld);
    expect(fits, `reserve ${upTo} after ${reserved}`).toBe(!tooMany);
    return fits;
  }

  get #longestHeld(): number {
    return this.geometry.kind === 'slots' ? this.geometry.blockSize : Infinity;
  }

  /** Tokens (slots) or blocks that are not live. */
  #freeBefore({ usage }: Observed): number {
    const free = usage.capacity - usage.live;
    return this.geometry.kind === 'slots' ? free : free / this.geometry.blockSize;
  }

  #mayRefuse(upTo: number, { usage }: Observed): boolean {
    const { kind, running, blockSize } = this.geometry;
    const free = usage.capacity - usage.live;
    if (kind === 'blocks') return free < this.#blocksFor(upTo) * blockSize;
    return this.live.length + this.#resting.length >= running || upTo > blockSize || free < upTo;
  }

  #observe(kv: KvCache): Observed {
    return { usage: kv.usage(), tables: this.live.map(({ number }) => kv.blocks(number)) };
  }

  #blocksFor(tokens: number): number {
    return Math.ceil(tokens / this.geometry.blockSize);
  }

  #liveTokens(kv: KvCache): number {
    const held = [...this.live, ...this.#resting];
    if (this.geometry.kind === 'slots') return held.reduce((sum, { reserved }) => sum + reserved, 0);
    const tables = [...this.live.map(({ number }) => kv.blocks(number)), ...this.#resting.map(({ blocks }) => blocks)];
    return new Set(tables.flatMap((table) => [...table])).size * this.geometry.blockSize;
  }

  #lowestHole(kv: KvCache): number {
    const taken = new Set(
      [...this.live.map(({ number }) => kv.blocks(number)), ...this.#resting.map(({ blocks }) => blocks)].map(
        ([slot]) => slot,
      ),
    );
    let hole = 0;
    while (taken.has(hole)) hole++;
    return hole;
  }

  /** What live sequences alone let `owner` reuse: their committed tokens are held for sure. */
  #bestLive({ salt, tokens }: KvOwner, limit: number): number {
    let best = 0;
    for (const each of this.live) {
      if (each.salt !== salt) continue;
      const most = Math.min(limit, each.committed);
      let common = 0;
      while (common < most && tokens[common] === each.stream[common]) common++;
      const part = common % this.geometry.blockSize;
      best = Math.max(best, part < PIECE ? common - part : common);
    }
    return best;
  }

  /** What a plan in flight writes nobody else writes, copies over or drops. */
  #checkUndisturbed(row: SimulatedRow, { copies, drops, rows }: SimulatedPlan): void {
    const size = this.geometry.blockSize;
    const end = row.start + row.right + row.refused;
    const last = Math.floor((end - 1) / size);
    for (let i = Math.floor(row.start / size); i <= last; i++) {
      const block = row.blocks[i] ?? 0;
      const used = Math.min(size, end - i * size);
      const about = `block ${block}, which a plan in flight writes`;
      expect(
        copies.some(({ to }) => to === block),
        about,
      ).toBe(false);
      expect(
        drops.some((drop) => drop.block === block && drop.tokens < used),
        about,
      ).toBe(false);
      const others = rows.filter(({ sequence }) => sequence !== row.sequence);
      expect(
        others.some(({ blocks }) => blocks.includes(block)),
        about,
      ).toBe(false);
    }
  }
}

interface Observed {
  readonly usage: ReturnType<KvCache['usage']>;
  readonly tables: readonly Int32Array[];
}
