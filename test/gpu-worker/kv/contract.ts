/** The contract suite of KV bookkeeping, run by every kind: random operations against the reference model. */
import * as fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { PIN_TURNOVERS, type KvCache } from '../../../gpu-worker/kv/kv-cache.ts';
import { SALTS } from './memory.ts';
import { fresh, joined, Owners } from './owners.ts';
import { World, type Geometry } from './world.ts';

type Operation = (world: World, kv: KvCache) => void;

class Command implements fc.Command<World, KvCache> {
  static executed = 0;
  readonly #name: string;
  readonly #operation: Operation;

  constructor(name: string, operation: Operation) {
    this.#name = name;
    this.#operation = operation;
  }

  check(): boolean {
    return true;
  }

  run(world: World, kv: KvCache): void {
    Command.executed++;
    this.#operation(world, kv);
    world.check(kv);
  }

  toString(): string {
    return this.#name;
  }
}

const seed = fc.integer();
const salt = fc.constantFrom(null, null, null, null, null, ...SALTS);
const share = fc.oneof(fc.constant(1), fc.double({ min: 0, max: 1, noNaN: true }));

function operations({ longest }: Geometry): fc.Arbitrary<Command>[] {
  const own = fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: longest }));
  const chunk = fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 64 }));
  const pinned = fc.oneof(fc.constant(0), fc.constant(1), share);
  const admit = fc
    .record({ like: fc.nat(11), share, own, salt, chunk, pinned, seed })
    .map((arrival) => new Command(`admit ${JSON.stringify(arrival)}`, (world, kv) => world.admit(kv, arrival)));
  const launch = seed.map((value) => new Command(`launch ${value}`, (world, kv) => world.launch(kv, value)));
  const collect = fc.constant(new Command('collect', (world, kv) => world.collect(kv)));
  const release = fc.nat(7).map((which) => new Command(`release ${which}`, (world, kv) => world.release(kv, which)));
  const reserve = fc
    .tuple(fc.nat(7), fc.oneof(fc.nat(20), fc.nat(longest)))
    .map(([which, more]) => new Command(`reserve ${which} ${more}`, (world, kv) => world.reserve(kv, which, more)));
  const arrange = fc.constant(new Command('arrange', (world, kv) => world.arrange(kv)));
  const rare = fc.nat(29).map((value) => {
    if (value === 0) return new Command('clear', (world, kv) => world.clear(kv));
    if (value === 1) return new Command('rollback', (world, kv) => world.rollback(kv));
    return new Command('arrange', (world, kv) => world.arrange(kv));
  });
  return [
    admit,
    admit,
    admit,
    launch,
    launch,
    launch,
    launch,
    collect,
    collect,
    collect,
    collect,
    release,
    release,
  ].concat([reserve, arrange, rare]);
}

type Seen = World['seen'];

/** Random operations with up to two plans in flight, at least `steps` of them; `never` names what this kind does not do. */
export function keepsContract(
  geometry: Geometry,
  create: () => KvCache,
  { steps, never }: { steps: number; never: readonly (keyof Seen)[] },
): void {
  const seen = new World(geometry).seen;
  const commands = fc.commands(operations(geometry), { maxCommands: 250, size: 'max' });
  const property = fc.property(commands, (script) => {
    const kv = create();
    const world = new World(geometry);
    fc.modelRun(() => ({ model: world, real: kv }), script);
    world.drain(kv);
    for (const what of Object.keys(seen) as (keyof Seen)[]) seen[what] += world.seen[what];
  });

  test(`${steps} random operations keep the contract`, () => {
    Command.executed = 0;
    while (Command.executed < steps) fc.assert(property, { numRuns: 50 });
    for (const [what, count] of Object.entries(seen)) {
      expect(count > 0, `${what}: ${count}`).toBe(!never.includes(what as keyof Seen));
    }
  }, 120_000);

  pinsOutliveTheRest(geometry, create);

  afterAll(() => console.log(`${geometry.kind}: ${Command.executed} operations checked`, seen));
}

/** Pinned prefixes of two blocks, or of as many tokens in a slot. */
function pinsOutliveTheRest({ longest, blocks, capacity, running }: Geometry, create: () => KvCache): void {
  const PINNED = 64;
  const start = (prompts: readonly Int32Array[], pinned: number) => {
    const kv = create();
    const owners = new Owners(kv);
    let number = 0;
    const cache = (tokens: Int32Array, pins = 0) => owners.cache(++number, tokens, { pins });
    for (const prompt of prompts) cache(joined(prompt, fresh(20)), pinned);
    const held = (prompt: Int32Array) => owners.match(joined(prompt, fresh(4)));
    return { kv, owners, cache, held };
  };

  test('a pinned prefix outlives the content of many caches; one that is not pinned does not', () => {
    for (const pinned of [PINNED, 0]) {
      const prompt = fresh(PINNED);
      const { kv, cache, held } = start([prompt], pinned);
      for (let i = 0; i < 2 * blocks; i++) {
        cache(fresh(longest - 10));
        if (pinned > 0) expect(held(prompt)).toBe(PINNED);
        expect(kv.violations()).toEqual([]);
      }
      expect(held(prompt)).toBe(pinned);
    }
  });

  test('used again it stays, pinned by whom it may; used by nobody its pin ends', () => {
    const prompt = fresh(PINNED);
    const { kv, cache, held } = start([prompt], PINNED);
    for (let i = 0; i < 3 * PIN_TURNOVERS * blocks; i++) {
      cache(i % blocks === 0 ? joined(prompt, fresh(10 + (i % 9))) : fresh(40));
    }
    expect(held(prompt)).toBe(PINNED);
    for (let i = 0; i < 3 * PIN_TURNOVERS * blocks; i++) cache(fresh(40));
    expect([held(prompt), kv.usage().pinned]).toEqual([0, 0]);
  });

  test('the budget holds: of too many pins the least recently used end', () => {
    const prompts = Array.from({ length: 6 }, () => fresh(PINNED));
    const { cache, held } = start(prompts, PINNED);
    for (let i = 0; i < 3 * blocks; i++) cache(fresh(longest - 10));
    const kept = prompts.map((prompt) => held(prompt) > 0);
    expect(kept[0]).toBe(false);
    expect(kept.at(-1)).toBe(true);
    expect(kept).toEqual(kept.toSorted());
  });

  test('live sequences take the room of pinned ones too', () => {
    const prompt = fresh(PINNED);
    const { kv, owners, held } = start([prompt], PINNED);
    const length = Math.min(longest, Math.floor(capacity / running));
    for (let i = 1; i <= running; i++) expect(owners.admit(-i, fresh(length))).not.toBeNull();
    for (let i = 1; i <= running; i++) kv.reserve(-i, longest);
    expect(kv.violations()).toEqual([]);
    expect(held(prompt)).toBeLessThan(PINNED);
    expect(kv.usage().pinned).toBe(0);
  });
}
