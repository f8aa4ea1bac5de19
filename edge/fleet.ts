/** A gateway's view of its workers over the bus: who lives, submit, control, and what their frames say to live requests. */
import { MillraceError, modelNotFound } from '../shared/errors.ts';
import * as protocol from '../shared/protocol.ts';
import type { FrameBatch, Heartbeat, KvEvents, Submit, SubmitReply } from '../shared/protocol.ts';
import { modelKey, subjects } from '../shared/subjects.ts';
import { NoResponders, type Bus } from './bus.ts';
import type { LiveRequest } from './live-request.ts';
import { lookupOf, PrefixRouter, type Lookup, type Routing } from './prefix/router.ts';
import { Registry } from './registry.ts';
import { WorkerLinks } from './worker-links.ts';

const SUBMIT_TIMEOUT_MS = 2_000;
const CONTROL_TIMEOUT_MS = 1_000;
/** A fresh gateway waits so long for the first answer to its roll call. */
const ROLL_CALL_MS = 250;
const SILENCE_MS = 2_000;
const MAX_FAILED_PROBES = 3;
/** A reader that takes nothing for so long loses its stream. */
const SLOW_CLIENT_MS = 60_000;

type Admitted = Extract<SubmitReply, { type: 'admitted' }>;

export interface FleetOptions {
  readonly bus: Bus;
  readonly shard: string;
  readonly shardEpoch: string;
  /** By default `prefix`. */
  readonly routing?: Routing;
  /** A worker that takes longer to answer a submit is too busy. */
  readonly submitTimeoutMs?: number;
}

export class Fleet {
  readonly #options: FleetOptions;
  readonly #registry = new Registry();
  readonly #router: PrefixRouter;
  readonly #links = new WorkerLinks();
  readonly #live = new Map<string, LiveRequest>();
  #probing = new Set<string>();
  /** Workers that were asked for a snapshot of their prefixes. */
  #asked = new Set<string>();

  /** Subscribes and calls the roll. */
  static async start(options: FleetOptions): Promise<Fleet> {
    const fleet = new Fleet(options);
    const { bus, shard } = options;
    let first: () => void = () => {};
    const heard = new Promise<void>((resolve) => (first = resolve));
    bus.subscribe(subjects.heartbeats, (data) => {
      fleet.#guard(() => fleet.#heartbeat(protocol.decodeMessage(protocol.heartbeatSchema, data)));
      first();
    });
    bus.subscribe(subjects.gateway(shard), (data) => {
      fleet.#guard(() => fleet.#batch(protocol.decodeMessage(protocol.frameBatchSchema, data)));
    });
    bus.subscribe(subjects.kvOfAll(shard), (data) => {
      fleet.#guard(() => fleet.#kvEvents(protocol.decodeMessage(protocol.kvEventsSchema, data)));
    });
    bus.publish(subjects.controlAll, { v: protocol.PROTOCOL_VERSION, type: 'probe' });
    await Promise.race([heard, sleep(ROLL_CALL_MS)]);
    setInterval(() => fleet.#tick(), protocol.ACK_INTERVAL_MS);
    return fleet;
  }

  private constructor(options: FleetOptions) {
    this.#options = options;
    this.#router = new PrefixRouter(options.routing);
  }

  workers(): readonly Heartbeat[] {
    return this.#registry.alive(Date.now());
  }

  /** Tries one worker after the other; the request is live from before its first frame can come. */
  async submit(
    submit: Submit,
    open: (worker: string, epoch: string) => LiveRequest,
  ): Promise<{ admitted: Admitted; live: LiveRequest }> {
    const lookup = lookupOf(submit);
    const job: Submit = { ...submit, blocks: lookup.blocks.map(({ hash, message, end }) => ({ hash, message, end })) };
    const { n } = submit.params;
    const { submitTimeoutMs = SUBMIT_TIMEOUT_MS } = this.#options;
    let refusal = this.#noWorker(submit.model);
    for (const heartbeat of this.#candidates(submit.model, lookup)) {
      const { worker, epoch, models } = heartbeat;
      const live = open(worker, epoch);
      this.#live.set(submit.id, live);
      this.#links.expect(worker, epoch, Date.now());
      this.#router.sent(lookup, heartbeat, { n, nowMs: Date.now() });
      try {
        const subject = subjects.submit(modelKey(models[0] ?? submit.model), worker);
        const data = await this.#options.bus.request(subject, job, submitTimeoutMs);
        const reply = protocol.decodeMessage(protocol.submitReplySchema, data);
        if (reply.type === 'admitted') {
          if (live.renew(reply.epoch)) void this.replay(live);
          this.#router.admitted(lookup, reply.promptTokens);
          return { admitted: reply, live };
        }
        const { code, message, param, retryAfterMs } = reply;
        refusal = new MillraceError(code, message, { param, retryAfterMs });
      } catch (error) {
        if (error instanceof NoResponders) this.#registry.forget(worker);
        else {
          // The reply may be lost and the request running: its worker must not work for nobody.
          void this.cancel(worker, submit.id);
          refusal = tooBusy(submitTimeoutMs);
        }
      }
      this.#live.delete(submit.id);
      this.#router.refused(lookup, worker, n);
      if (!['slow_down', 'draining', 'no_worker'].includes(refusal.code)) break;
    }
    throw refusal;
  }

  attach(live: LiveRequest): void {
    this.#live
      .get(live.id)
      ?.fail(new MillraceError('stream_not_found', 'The stream was resumed elsewhere.'), Date.now());
    this.#live.set(live.id, live);
  }

  find(id: string): LiveRequest | undefined {
    return this.#live.get(id);
  }

  detach(live: LiveRequest): void {
    if (this.#live.get(live.id) === live) this.#live.delete(live.id);
  }

  /** False when the worker does not know the id or is gone; null when it did not answer in time. */
  async cancel(worker: string, id: string): Promise<boolean | null> {
    return this.#control(worker, { v: protocol.PROTOCOL_VERSION, type: 'cancel', id });
  }

  /** The same. */
  async replay(live: LiveRequest): Promise<boolean | null> {
    const { shard, shardEpoch } = this.#options;
    const head = { v: protocol.PROTOCOL_VERSION, type: 'replay', id: live.id };
    return this.#control(live.worker, { ...head, shard, shardEpoch, offsets: live.offsets });
  }

  async #control(worker: string, message: object): Promise<boolean | null> {
    try {
      const data = await this.#options.bus.request(subjects.control(worker), message, CONTROL_TIMEOUT_MS);
      return protocol.decodeMessage(protocol.controlReplySchema, data).found === true;
    } catch (error) {
      return error instanceof NoResponders ? false : null;
    }
  }

  /** In the order to try them. */
  #candidates(model: string, lookup: Lookup): readonly Heartbeat[] {
    const nowMs = Date.now();
    return this.#router.route(lookup, this.#registry.ready(model, nowMs), { nowMs, random: Math.random });
  }

  #noWorker(model: string): MillraceError {
    const models = [...new Set(this.workers().flatMap((worker) => worker.models))];
    if (models.length === 0) return new MillraceError('no_worker', 'No worker is available. Try again shortly.');
    if (models.includes(model)) return new MillraceError('no_worker', 'No worker of this model is available.');
    return modelNotFound(model);
  }

  #heartbeat(heartbeat: Heartbeat): void {
    const nowMs = Date.now();
    this.#links.heard(heartbeat.worker, nowMs);
    const replaced = this.#registry.see(heartbeat, nowMs);
    if (replaced !== null) this.#lose(heartbeat.worker, (live) => live.epoch === replaced);
    if (this.#router.heartbeat(heartbeat, nowMs)) void this.#askPrefixes(heartbeat.worker);
  }

  #kvEvents(events: KvEvents): void {
    if (this.#router.receive(events)) void this.#askPrefixes(events.worker);
  }

  /** One question at a time; after one without an answer the next heartbeat brings another. */
  async #askPrefixes(worker: string): Promise<void> {
    if (this.#asked.has(worker)) return;
    this.#asked.add(worker);
    try {
      const ask = { v: protocol.PROTOCOL_VERSION, type: 'kv-snapshot', shard: this.#options.shard };
      const data = await this.#options.bus.request(subjects.control(worker), ask, CONTROL_TIMEOUT_MS);
      this.#router.restore(protocol.decodeMessage(protocol.kvEventsSchema, data));
    } catch {
      // A worker that knows no such question is routed to by its load.
    } finally {
      this.#asked.delete(worker);
    }
  }

  #batch(batch: FrameBatch): void {
    if (batch.shardEpoch !== this.#options.shardEpoch) return;
    const nowMs = Date.now();
    const gap = this.#links.receive(batch, nowMs);
    const behind = new Set<LiveRequest>();
    for (const frame of batch.frames) {
      const live = this.#live.get(frame.id);
      if (live === undefined || !live.runsOn(batch)) continue;
      const ended = live.ended;
      if (!live.accept(frame, nowMs)) behind.add(live);
      if (live.ended && !ended) this.#router.ended(live.worker, live.offsets.length);
    }
    if (gap) for (const live of this.#live.values()) if (live.runsOn(batch) && !live.ended) behind.add(live);
    for (const live of behind) void this.replay(live);
  }

  #tick(): void {
    const nowMs = Date.now();
    const { bus, shard, shardEpoch } = this.#options;
    const working = new Set<string>();
    for (const live of this.#live.values()) {
      if (!live.ended) working.add(live.worker);
      if (live.detached && live.ended) this.detach(live);
      else if (!live.detached && live.waitingSinceMs !== null && nowMs - live.waitingSinceMs > SLOW_CLIENT_MS)
        this.#dropSlow(live, nowMs);
    }
    for (const { worker, seq } of this.#links.dueAcks(working)) {
      bus.publish(subjects.control(worker), { v: protocol.PROTOCOL_VERSION, type: 'ack', shard, shardEpoch, seq });
    }
    for (const worker of this.#links.silent(working, nowMs, SILENCE_MS)) void this.#probe(worker);
  }

  #dropSlow(live: LiveRequest, nowMs: number): void {
    if (!live.ended) void this.cancel(live.worker, live.id);
    live.fail(new MillraceError('slow_client', 'The stream was not read for too long.'), nowMs);
    this.detach(live);
  }

  async #probe(worker: string): Promise<void> {
    if (this.#probing.has(worker)) return;
    this.#probing.add(worker);
    try {
      const probe = { v: protocol.PROTOCOL_VERSION, type: 'probe' };
      await this.#options.bus.request(subjects.control(worker), probe, CONTROL_TIMEOUT_MS);
      this.#links.heard(worker, Date.now());
    } catch (error) {
      const failed = this.#links.probeFailed(worker);
      if (error instanceof NoResponders || failed >= MAX_FAILED_PROBES) this.#lose(worker);
    } finally {
      this.#probing.delete(worker);
    }
  }

  /** What ran on it, or on its replaced incarnation, is lost. */
  #lose(worker: string, isLost: (live: LiveRequest) => boolean = () => true): void {
    this.#links.forget(worker);
    this.#router.forget(worker);
    for (const live of this.#live.values()) {
      if (live.worker !== worker || !isLost(live)) continue;
      live.fail(new MillraceError('worker_lost', 'The worker of this request was lost.'), Date.now());
    }
  }

  /** A malformed message costs nobody but itself. */
  #guard(handle: () => void): void {
    try {
      handle();
    } catch (error) {
      console.warn(JSON.stringify({ event: 'bad-message', error: String(error) }));
    }
  }
}

export function tooBusy(retryAfterMs = CONTROL_TIMEOUT_MS): MillraceError {
  return new MillraceError('slow_down', 'The worker is too busy to answer. Try again shortly.', { retryAfterMs });
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
