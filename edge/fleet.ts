/** A gateway's view of its workers over the bus: who lives, submit, control, and what their frames say to live requests. */
import { MillraceError, modelNotFound } from '../shared/errors.ts';
import * as protocol from '../shared/protocol.ts';
import type { FrameBatch, Heartbeat, KvEvents, Submit, SubmitReply } from '../shared/protocol.ts';
import { modelKey, subjects } from '../shared/subjects.ts';
import { NoResponders } from './bus.ts';
import type { LiveRequest } from './live-request.ts';
import { LiveRequests } from './live-requests.ts';
import { lookupOf, PrefixRouter, type Lookup, type Routing } from './prefix/router.ts';
import { Registry } from './registry.ts';
import { CONTROL_TIMEOUT_MS, WorkerControl, type ControlAnswer, type ControlOptions } from './worker-control.ts';
import { WorkerLinks } from './worker-links.ts';

/** A fresh gateway waits so long for the first answer to its roll call. */
const ROLL_CALL_MS = 250;
const SILENCE_MS = 2_000;
const MAX_FAILED_PROBES = 3;

type Admitted = Extract<SubmitReply, { type: 'admitted' }>;

export interface FleetOptions extends ControlOptions {
  /** By default `prefix`. */
  readonly routing?: Routing;
  /** A worker that takes longer to answer a submit is too busy: the next one is asked. */
  readonly submitTimeoutMs: number;
}

export class Fleet {
  readonly #options: FleetOptions;
  readonly #control: WorkerControl;
  readonly #requests: LiveRequests;
  readonly #registry = new Registry();
  readonly #router: PrefixRouter;
  readonly #links = new WorkerLinks();
  readonly #probing = new Set<string>();
  /** Workers that were asked for a snapshot of their prefixes. */
  readonly #asked = new Set<string>();
  #timer: ReturnType<typeof setInterval> | null = null;

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
    fleet.#control.callTheRoll();
    await Promise.race([heard, sleep(ROLL_CALL_MS)]);
    fleet.#timer = setInterval(() => fleet.#tick(), protocol.ACK_INTERVAL_MS);
    return fleet;
  }

  private constructor(options: FleetOptions) {
    this.#options = options;
    this.#control = new WorkerControl(options);
    this.#requests = new LiveRequests(this.#control);
    this.#router = new PrefixRouter(options.routing);
  }

  /** Workers hear no more of it, and end what runs for it by its lease. */
  async close(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    await this.#options.bus.close();
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
    const { submitTimeoutMs } = this.#options;
    let refusal = this.#noWorker(submit.model);
    for (const heartbeat of this.#candidates(submit.model, lookup)) {
      const { worker, epoch, models } = heartbeat;
      const live = open(worker, epoch);
      this.#requests.add(live);
      this.#links.expect(worker, epoch, Date.now());
      this.#router.sent(lookup, heartbeat, { n, nowMs: Date.now() });
      try {
        const subject = subjects.submit(modelKey(models[0] ?? submit.model), worker);
        const data = await this.#options.bus.request(subject, job, submitTimeoutMs);
        const reply = protocol.decodeMessage(protocol.submitReplySchema, data);
        if (reply.type === 'admitted') {
          if (live.renew(reply.epoch)) void this.#requests.catchUp(live);
          this.#router.admitted(lookup, reply.promptTokens);
          return { admitted: reply, live };
        }
        const { code, message, param, retryAfterMs } = reply;
        refusal = new MillraceError(code, message, { param, retryAfterMs });
      } catch (error) {
        if (error instanceof NoResponders) this.#registry.markGone(worker);
        else if (error instanceof MillraceError) refusal = error;
        else {
          // The reply may be lost and the request running: its worker must not work for nobody.
          void this.#control.cancel(worker, submit.id);
          refusal = tooBusy(submitTimeoutMs);
        }
      }
      this.#requests.remove(live);
      this.#router.refused(lookup, worker, n);
      if (!['slow_down', 'draining', 'no_worker'].includes(refusal.code)) break;
    }
    throw refusal;
  }

  find(id: string): LiveRequest | undefined {
    return this.#requests.find(id);
  }

  detach(live: LiveRequest): void {
    this.#requests.remove(live);
  }

  /** Reads a stream again, from the offsets of `live`, which takes the place of its reader. */
  async resume(live: LiveRequest): Promise<ControlAnswer> {
    const answer = await this.#requests.resume(live);
    // A fresh gateway has not heard of its worker before, and has to probe it.
    if (answer === 'found' || answer === 'silent') this.#links.expect(live.worker, live.epoch, Date.now());
    return answer;
  }

  cancel(worker: string, id: string): Promise<ControlAnswer> {
    return this.#control.cancel(worker, id);
  }

  /** In the order to try them. */
  #candidates(model: string, lookup: Lookup): readonly Heartbeat[] {
    const nowMs = Date.now();
    return this.#router.route(lookup, this.#registry.ready(model, nowMs), { nowMs, random: Math.random });
  }

  #noWorker(model: string): MillraceError {
    if (this.workers().length === 0) return noWorker('No worker is available. Try again shortly.');
    if (this.#registry.remembers(model)) return noWorker('No worker of this model is available. Try again shortly.');
    return modelNotFound(model);
  }

  #heartbeat(heartbeat: Heartbeat): void {
    const nowMs = Date.now();
    this.#links.heard(heartbeat.worker, nowMs);
    const replaced = this.#registry.see(heartbeat, nowMs);
    if (replaced !== null) {
      this.#lose(heartbeat.worker, replaced);
      // Requests that it admitted since are heard of, or it is probed.
      this.#links.expect(heartbeat.worker, heartbeat.epoch, nowMs);
    }
    if (this.#router.heartbeat(heartbeat, nowMs)) void this.#askPrefixes(heartbeat.worker);
  }

  #kvEvents(events: KvEvents): void {
    if (this.#router.receive(events)) void this.#askPrefixes(events.worker);
  }

  /** One question at a time; after one without an answer the next heartbeat brings another. */
  async #askPrefixes(worker: string): Promise<void> {
    if (this.#asked.has(worker)) return;
    this.#asked.add(worker);
    const prefixes = await this.#control.prefixes(worker);
    this.#asked.delete(worker);
    // Without them it is routed to by its load.
    if (prefixes !== null) this.#router.restore(prefixes);
  }

  #batch(batch: FrameBatch): void {
    if (batch.shardEpoch !== this.#options.shardEpoch) return;
    const nowMs = Date.now();
    const gap = this.#links.receive(batch, nowMs);
    for (const { worker, offsets } of this.#requests.receive(batch, { gap, nowMs }))
      this.#router.ended(worker, offsets.length);
  }

  #tick(): void {
    const nowMs = Date.now();
    const working = this.#requests.tick(nowMs);
    // Silence tells of workers only while they could be heard.
    if (!this.#options.bus.connected) return this.#links.heardAll(nowMs);
    for (const { worker, seq } of this.#links.dueAcks(working)) this.#control.ack(worker, seq);
    for (const worker of this.#links.silent(working, nowMs, SILENCE_MS)) void this.#probe(worker);
    for (const worker of this.#registry.forgetStale(nowMs)) if (!working.has(worker)) this.#forget(worker);
  }

  async #probe(worker: string): Promise<void> {
    if (this.#probing.has(worker)) return;
    this.#probing.add(worker);
    const { bus } = this.#options;
    const [answer, heard] = await Promise.all([this.#control.probe(worker), bus.answers(CONTROL_TIMEOUT_MS)]);
    this.#probing.delete(worker);
    if (answer === 'alive' || !heard) this.#links.heard(worker, Date.now());
    else if (answer === 'gone' || this.#links.probeFailed(worker) >= MAX_FAILED_PROBES) this.#lose(worker);
  }

  /** What ran on it, or on its replaced incarnation, is lost. */
  #lose(worker: string, epoch: string | null = null): void {
    this.#forget(worker);
    this.#requests.lose(worker, epoch);
  }

  #forget(worker: string): void {
    this.#links.forget(worker);
    this.#router.forget(worker);
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

function noWorker(message: string): MillraceError {
  return new MillraceError('no_worker', message);
}

export function tooBusy(retryAfterMs = CONTROL_TIMEOUT_MS): MillraceError {
  return new MillraceError('slow_down', 'The worker is too busy to answer. Try again shortly.', { retryAfterMs });
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
