/**
 * Does the time to the first token tell a tenant what others have cached? Two workers, a gateway's router and its KV
 * events, all as served, in simulated time: steps cost what they cost, so nothing but routing and caches decides.
 */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { lookupOf, PrefixRouter } from '../../../edge/prefix/router.ts';
import { readConfig } from '../../../gpu-worker/config.ts';
import { Metrics } from '../../../gpu-worker/metrics.ts';
import { Engine } from '../../../gpu-worker/engine/engine.ts';
import type { OutputsEvent } from '../../../gpu-worker/engine/engine-client.ts';
import type { EngineRequest } from '../../../gpu-worker/engine/messages.ts';
import { Serving, type ServingEngine } from '../../../gpu-worker/serving.ts';
import { PROTOCOL_VERSION, type KvEvents, type Prompt, type Submit } from '../../../shared/protocol.ts';
import { DEFAULT_SAMPLING } from '../../../shared/sampling.ts';
import { auc, shuffled } from '../../bench/routing/auc.ts';
import { SimulatedRunner } from '../../bench/routing/simulated-runner.ts';
import { BYTE_TOKENS } from '../../support/engine-world.ts';
import { seeded } from '../../support/seeded.ts';

const PREFIX_TOKENS = 600;
const TRIALS = 150;
const KV_TOKENS = 8_000;

/** Runs whatever was added to its end, at once; the clock goes on by what the steps would have taken. */
class SimulatedTimeEngine implements ServingEngine {
  readonly info: ServingEngine['info'];
  readonly #engine: Engine;
  readonly #listeners: ((event: OutputsEvent) => void)[] = [];

  constructor() {
    const costs = { constantMs: 10, sequenceMs: 0.1, tokenMs: 0.25, kvTokenMs: 0.00004 };
    const sizes = { maxNumSeqs: 8, maxModelLen: 2048, maxStepTokens: 512, kvTokens: KV_TOKENS, vocabSize: 256 };
    const runner = new SimulatedRunner({ costs, ...sizes, words: [97] });
    const policy = { mode: 'balanced', prefixCaching: true, speculation: 'off', ttftMs: null, itlMs: null } as const;
    this.info = { ...runner.info, loadMs: 0 };
    this.#engine = new Engine({ runner, tokenBytes: BYTE_TOKENS, policy, now: () => 0 });
  }

  add(request: EngineRequest): void {
    this.#engine.add(request);
  }

  abort(): void {}

  onOutputs(listener: (event: OutputsEvent) => void): void {
    this.#listeners.push(listener);
  }

  lastStep(): ReturnType<ServingEngine['lastStep']> {
    return { completed: 0, atMs: 0, runningSinceMs: null };
  }

  /** Until idle; milliseconds to the first output. */
  run(): number {
    let elapsedMs = 0;
    let firstMs: number | null = null;
    while (this.#engine.busy) {
      const outputs = this.#engine.step();
      elapsedMs += outputs.step?.runMs ?? 0;
      if (outputs.deltas.length > 0) firstMs ??= elapsedMs;
      this.#tell({ type: 'outputs', ...outputs, load: this.#engine.load });
    }
    while (this.#engine.checkPrefixes(true));
    this.#tell({ type: 'outputs', ...this.#engine.takeOutputs(), load: this.#engine.load, step: null });
    vi.advanceTimersByTime(elapsedMs);
    return firstMs ?? NaN;
  }

  #tell(event: OutputsEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}

/** A gateway of both tenants and its two workers. */
class World {
  readonly random = seeded(11);
  readonly #router = new PrefixRouter();
  readonly #workers: readonly {
    readonly id: string;
    readonly engine: SimulatedTimeEngine;
    readonly serving: Serving;
  }[];
  #requests = 0;

  constructor() {
    this.#workers = ['w0', 'w1'].map((id) => {
      const engine = new SimulatedTimeEngine();
      const config = readConfig(['--worker-id', id, '--served-model-name', 'm'], {});
      if (config === null) throw new Error('no config');
      const encoder = { encode: idsOf, fewestTokens: (prompt: Prompt) => idsOf(prompt).length, reasoning: () => null };
      const defaults = { temperature: 1, topP: 1, topK: 0, minP: 0, repetitionPenalty: 1 };
      const out = { publish: () => {}, publishKv: (events: KvEvents) => void this.#router.receive(events) };
      const parts = { config, engine, encoder, defaults, tokenBytes: BYTE_TOKENS, metrics: new Metrics() };
      return { id, engine, serving: new Serving({ ...parts, ...out, epoch: 'e', log: () => {} }) };
    });
  }

  /** Prefixes that differ everywhere. */
  prefix(): readonly number[] {
    return Array.from({ length: PREFIX_TOKENS }, () => Math.floor(this.random() * 256));
  }

  /** TTFT of a prompt that begins with this prefix and goes on in a way of its own. */
  send(tenant: string, prefix: readonly number[]): number {
    const ids = [...prefix, ...Array.from({ length: 20 }, () => Math.floor(this.random() * 256))];
    const nowMs = Date.now();
    const id = `r${this.#requests++}`;
    const submit: Submit = {
      ...{ v: PROTOCOL_VERSION, id, attempt: 1, shard: 's', shardEpoch: 'se', tenant, model: 'm', priority: 0 },
      ...{ prompt: { type: 'tokens', ids }, params: { ...DEFAULT_SAMPLING, maxTokens: 2, ignoreEos: true } },
      ...{ speculation: 'off', cacheSalt: '', templateValues: {}, deadlineMs: nowMs + 600_000 },
    };
    const lookup = lookupOf(submit);
    for (const { serving } of this.#workers) {
      const heartbeat = serving.heartbeat();
      if (this.#router.heartbeat(heartbeat, nowMs)) this.#router.restore(serving.kvSnapshot('s'));
    }
    const heartbeats = this.#workers.map(({ serving }) => serving.heartbeat());
    const [first] = this.#router.route(lookup, heartbeats, { nowMs, random: this.random });
    const worker = this.#workers.find((each) => each.id === first?.worker);
    if (first === undefined || worker === undefined) throw new Error('no worker');
    this.#router.sent(lookup, first, { n: 1, nowMs });
    const blocks = lookup.blocks.map(({ hash, message, end }) => ({ hash, message, end }));
    const reply = worker.serving.submit({ ...submit, blocks });
    if (reply.type !== 'admitted') throw new Error(reply.message);
    this.#router.admitted(lookup, reply.promptTokens);
    const firstMs = worker.engine.run();
    this.#router.ended(worker.id, 1);
    return firstMs;
  }
}

function idsOf(prompt: Prompt): Int32Array {
  if (prompt.type !== 'tokens') throw new Error('only tokens here');
  return Int32Array.from(prompt.ids);
}

/**
 * AUC between probes of a prefix that `sender` has just sent and probes of one that nobody has, while it sent another
 * as long. In random order; the caches are full after the first dozens.
 */
function aucOf(sender: string): {
  readonly area: number;
  readonly cached: readonly number[];
  readonly not: readonly number[];
} {
  const world = new World();
  const [cached, not]: [number[], number[]] = [[], []];
  for (const isCached of shuffled(
    Array.from({ length: 2 * TRIALS }, (_, i) => i % 2 === 0),
    world.random,
  )) {
    const probe = world.prefix();
    world.send(sender, isCached ? probe : world.prefix());
    (isCached ? cached : not).push(world.send('prober', probe));
  }
  return { area: auc(cached, not), cached, not };
}

// Of all parts: paces, and what went where lately, must not depend on the machine.
beforeEach(() => void vi.useFakeTimers({ now: 0, toFake: ['Date', 'performance'] }));
afterEach(() => void vi.useRealTimers());

describe(`of ${TRIALS} probes each`, () => {
  test('a tenant’s own prefix shows: the probe can tell', () => {
    const { area, cached, not } = aucOf('prober');
    // Not always: a worker that was first too often lately is passed over.
    expect(area).toBeGreaterThan(0.85);
    expect(Math.min(...not)).toBeGreaterThan(2 * Math.min(...cached));
  });

  test('another tenant’s does not', () => {
    const { area } = aucOf('other');
    expect(Math.abs(area - 0.5)).toBeLessThanOrEqual(0.05);
  });
});
