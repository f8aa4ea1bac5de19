/** Every request's life on the main thread: admitted or refused, its output streamed, ended, logged. Knows no NATS and no model. */
import { MillraceError } from '../shared/errors.ts';
import {
  PROTOCOL_VERSION,
  type FrameBatch,
  type Heartbeat,
  type KvEvents,
  type Submit,
  type SubmitReply,
} from '../shared/protocol.ts';
import { capacity, crowdedError, type AdmissionLimits, type AdmissionLoad } from './admission.ts';
import type { Config } from './config.ts';
import type { EngineClient, OutputsEvent } from './engine/engine-client.ts';
import type { EngineLoad, RequestEnd } from './engine/messages.ts';
import type { Metrics } from './metrics.ts';
import { KvPublisher } from './prefix/kv-publisher.ts';
import { PrefillQueue } from './prefix/prefill-queue.ts';
import { toEngineRequest, type RequestRules } from './requests.ts';
import type { StreamRecord } from './stream/stream-record.ts';
import { Streams, type StreamTarget } from './stream/streams.ts';

/** What serving needs of an engine. */
export type ServingEngine = Pick<EngineClient, 'info' | 'add' | 'abort' | 'onOutputs' | 'lastStep'>;

export interface ServingParts {
  readonly config: Config;
  /** Of this worker process. */
  readonly epoch: string;
  readonly engine: ServingEngine;
  readonly encoder: RequestRules['encoder'];
  readonly tokenBytes: RequestRules['tokenBytes'];
  readonly defaults: RequestRules['defaults'];
  readonly metrics: Metrics;
  readonly log: (entry: object) => void;
  readonly publish: (batch: FrameBatch) => void;
  readonly publishKv: (events: KvEvents) => void;
}

const MAX_STREAM_BYTES = 256 * 1024 * 1024;
const NO_KV = { capacity: 0, live: 0, cached: 0, pinned: 0, prefixQueries: 0, prefixHits: 0 };
const IDLE: EngineLoad = { running: 0, waiting: 0, queuedPrefillTokens: 0, kv: NO_KV };

export class Serving {
  /** Nothing is admitted any more. */
  draining = false;
  readonly streams: Streams;
  readonly #parts: ServingParts;
  readonly #rules: RequestRules;
  readonly #kvEvents: KvPublisher;
  readonly #prefill = new PrefillQueue();
  readonly #created = Math.floor(Date.now() / 1000);
  #load: EngineLoad = IDLE;

  constructor(parts: ServingParts) {
    const { config, engine, epoch, encoder, tokenBytes, defaults, publish, publishKv } = parts;
    const { workerId: worker, leaseMs, retainMs, maxWaiting, maxQueuedPrefillTokens, names } = config;
    this.#parts = parts;
    this.streams = new Streams({ worker, epoch, leaseMs, retainMs, maxBytes: MAX_STREAM_BYTES, publish });
    this.#kvEvents = new KvPublisher({ worker, epoch, publish: publishKv });
    const { maxNumSeqs, maxModelLen, vocabSize, eosIds, kv } = engine.info;
    const { ttftMs } = config.policy;
    const kvTokens = kv.capacityTokens;
    const limits: AdmissionLimits = { maxNumSeqs, maxWaiting, maxQueuedPrefillTokens, maxModelLen, kvTokens, ttftMs };
    this.#rules = { names, limits, vocabSize, eosIds, defaults, encoder, tokenBytes };
    engine.onOutputs((event) => this.#receive(event));
  }

  /** Requests that may still be taken in. */
  get room(): number {
    return capacity(this.#rules.limits) - this.streams.liveChoices;
  }

  /** The refusal while there is no room. */
  crowded(): MillraceError {
    return crowdedError(this.#rules.limits, this.#admissionLoad());
  }

  /** Throws a MillraceError: a refusal. The same (id, attempt) again gets the same reply. */
  submit(submit: Submit): SubmitReply {
    const { id, attempt, shard, shardEpoch } = submit;
    const known = this.streams.find(id);
    if (known?.identity.attempt === attempt) return this.#admitted(known);
    if (known !== undefined && known.identity.attempt > attempt) {
      throw new MillraceError('invalid_value', 'A later attempt of this request is here.', { param: 'attempt' });
    }
    const nowMs = Date.now();
    const request = toEngineRequest(submit, this.#rules, { ...this.#admissionLoad(), nowMs });
    const { promptIds, generatedIds, marks = [] } = request;
    const { length: promptTokens } = promptIds;
    const identity = { id, attempt, promptTokens, choices: request.n, firstOffset: generatedIds.length };
    const record = this.streams.open(identity, { shard, shardEpoch, nowMs });
    // Now that its record is gone, the earlier attempt ends unheard.
    if (known !== undefined && !known.ended) this.#abort(known, 'Replaced by a later attempt.');
    this.#kvEvents.want(shard, marks);
    this.#prefill.add(request.id, promptTokens - this.#kvEvents.heldTokens(marks));
    this.#parts.engine.add(request);
    this.#parts.log({ event: 'admitted', request: id, attempt, tenant: submit.tenant, promptTokens });
    return this.#admitted(record);
  }

  /** False: the id is not known here (any more), or has ended. */
  cancel(id: string): boolean {
    const record = this.streams.find(id);
    if (record === undefined || record.ended) return false;
    this.#abort(record, 'The request was cancelled.');
    return true;
  }

  replay(id: string, offsets: readonly number[], target: StreamTarget): boolean {
    return this.streams.replay(id, offsets, target);
  }

  /** Text blocks of this shard's requests that the KV cache holds. */
  kvSnapshot(shard: string): KvEvents {
    return this.#kvEvents.snapshot(shard);
  }

  /** Periodic: ends what nobody listens to, forgets what nobody will ask for. */
  sweep(): void {
    for (const record of this.streams.sweep(Date.now())) {
      this.#parts.engine.abort(record.engineId, 'lease_expired', 'The gateway of this request went silent.');
    }
  }

  /** Asks the engine to end every live request with this error. */
  abortAll({ code, message }: MillraceError): void {
    for (const record of this.streams.live) this.#parts.engine.abort(record.engineId, code, message);
  }

  /** Ends every live request with this error, engine or no engine. */
  failAll({ code, message }: MillraceError): void {
    const ends = Array.from(this.streams.live, (record): RequestEnd => {
      return { type: 'error', id: record.engineId, code, message, usage: record.usage };
    });
    this.#takeIn([], ends);
  }

  heartbeat(): Heartbeat {
    const { config, engine, epoch } = this.#parts;
    const { maxModelLen, maxNumSeqs, fingerprint, kv } = engine.info;
    const { completed, atMs } = engine.lastStep();
    const { running } = this.#load;
    const waiting = Math.max(0, this.streams.liveChoices - running);
    const queuedPrefillTokens = this.#prefill.tokens;
    const prefillTokensPerSecond = this.#prefill.tokensPerSecond(Date.now());
    return {
      v: PROTOCOL_VERSION,
      worker: config.workerId,
      epoch,
      models: [...config.names],
      fingerprint,
      status: this.draining ? 'draining' : 'ready',
      created: this.#created,
      limits: { maxSequences: maxNumSeqs, maxModelLen, kvTokens: kv.capacityTokens },
      load: { running, waiting, queuedPrefillTokens, kvTokens: this.#load.kv.live, prefillTokensPerSecond },
      step: { completed, atMs },
    };
  }

  #admitted({ identity }: StreamRecord): SubmitReply {
    const { config, engine, epoch } = this.#parts;
    const { promptTokens } = identity;
    return { type: 'admitted', worker: config.workerId, epoch, promptTokens, fingerprint: engine.info.fingerprint };
  }

  #admissionLoad(): AdmissionLoad {
    return {
      live: this.streams.liveChoices,
      queuedPrefillTokens: this.#prefill.tokens,
      prefillTokensPerSecond: this.#prefill.tokensPerSecond(Date.now()),
      draining: this.draining,
    };
  }

  #abort({ engineId }: StreamRecord, message: string): void {
    this.#parts.engine.abort(engineId, 'request_cancelled', message);
  }

  #receive({ deltas, ends, load, step, prefixes = null }: OutputsEvent): void {
    const { metrics } = this.#parts;
    this.#load = load;
    this.#takeIn(deltas, ends);
    metrics.load(load);
    if (prefixes !== null) this.#kvEvents.receive(prefixes);
    if (step === null) return;
    metrics.step(step);
    this.#prefill.observe(step, Date.now());
  }

  #takeIn(deltas: OutputsEvent['deltas'], ends: readonly RequestEnd[]): void {
    const { metrics, log } = this.#parts;
    const nowMs = Date.now();
    for (const delta of deltas) metrics.delta(delta);
    for (const { id } of [...deltas, ...ends]) this.#prefill.remove(id);
    for (const { record, end } of this.streams.receive(deltas, ends, nowMs)) {
      const finish = deltas.findLast((delta) => delta.id === end.id)?.finish ?? null;
      metrics.ended(end, finish ?? 'none');
      const { id: request, attempt } = record.identity;
      const how = end.type === 'done' ? { finish, ...roundAll(end.timings) } : { code: end.code };
      log({ event: 'ended', request, attempt, ...how, ...end.usage, totalMs: nowMs - record.openedAtMs });
    }
    for (const { id } of ends) metrics.forget(id);
  }
}

function roundAll<TFigures extends Readonly<Record<string, number>>>(figures: TFigures): Record<string, number> {
  return Object.fromEntries(Object.entries(figures).map(([name, value]) => [name, Math.round(value * 10) / 10]));
}
