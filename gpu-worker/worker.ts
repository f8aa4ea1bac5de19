/** Bus in, bus out: submits, control messages, frames, heartbeats. The worker's only importer of NATS. */
import { randomUUID } from 'node:crypto';
import { connect } from '@nats-io/transport-node';
import type { Msg, NatsConnection } from '@nats-io/transport-node';
import { ERRORS, MillraceError, toMillraceError } from '../shared/errors.ts';
import * as protocol from '../shared/protocol.ts';
import type { Control, ControlReply, Heartbeat, Submit, SubmitReply } from '../shared/protocol.ts';
import { modelKey, subjects, WORKER_QUEUE } from '../shared/subjects.ts';
import type { Config } from './config.ts';
import type { EngineClient, OutputsEvent } from './engine/engine-client.ts';
import type { EngineLoad } from './engine/messages.ts';
import type { Metrics } from './metrics.ts';
import { engineId, toEngineRequest, type RequestRules } from './requests.ts';
import { Streams } from './stream/streams.ts';

/** What the worker needs of an engine. */
export type WorkerEngine = Pick<EngineClient, 'info' | 'add' | 'abort' | 'onOutputs' | 'lastStep'>;

export interface WorkerParts {
  readonly config: Config;
  readonly engine: WorkerEngine;
  readonly encoder: RequestRules['encoder'];
  readonly metrics: Metrics;
  readonly log: (entry: object) => void;
}

const SWEEP_INTERVAL_MS = 250;
const MAX_STREAM_BYTES = 256 * 1024 * 1024;
const IDLE: EngineLoad = { running: 0, waiting: 0, queuedPrefillTokens: 0, kvTokens: 0, freeSlots: 0 };

export class BusWorker {
  readonly epoch = randomUUID();
  readonly #parts: WorkerParts;
  readonly #nats: NatsConnection;
  readonly #streams: Streams;
  readonly #rules: RequestRules;
  readonly #replies = new Map<string, SubmitReply>();
  readonly #timers: NodeJS.Timeout[] = [];
  #load: EngineLoad = IDLE;
  /** Prompt tokens handed to the engine since its last figures. */
  #addedTokens = 0;
  #tokensPerSecond: number | null = null;
  #draining = false;
  readonly #created = Math.floor(Date.now() / 1000);

  /** Connects and serves. Rejects when the server cannot be reached or refuses the credentials. */
  static async start(parts: WorkerParts): Promise<BusWorker> {
    const { url, user, password } = parts.config.nats;
    const nats = await connect({
      servers: url,
      name: `millrace-worker-${parts.config.workerId}`,
      ...(user === undefined ? {} : { user, pass: password ?? '' }),
      inboxPrefix: '_INBOX_worker',
      maxReconnectAttempts: -1,
      reconnectTimeWait: 250,
      pingInterval: 5_000,
    });
    return new BusWorker(parts, nats);
  }

  private constructor(parts: WorkerParts, nats: NatsConnection) {
    const { config, engine } = parts;
    this.#parts = parts;
    this.#nats = nats;
    this.#streams = new Streams({
      worker: config.workerId,
      epoch: this.epoch,
      leaseMs: config.leaseMs,
      retainMs: config.retainMs,
      maxBytes: MAX_STREAM_BYTES,
      publish: (batch) => this.#publish(subjects.gateway(batch.shard), batch),
    });
    const { maxNumSeqs, maxWaiting, maxQueuedPrefillTokens } = config;
    const limits = { maxNumSeqs, maxWaiting, maxQueuedPrefillTokens, maxModelLen: engine.info.maxModelLen };
    this.#rules = { names: config.names, limits, encoder: parts.encoder };
    engine.onOutputs((event) => this.#receive(event));
    this.#subscribe();
    this.#timers.push(
      setInterval(() => this.#sweep(), SWEEP_INTERVAL_MS),
      setInterval(() => this.#beat(), protocol.HEARTBEAT_INTERVAL_MS),
    );
    this.#beat();
  }

  get draining(): boolean {
    return this.#draining;
  }

  get connected(): boolean {
    return !this.#nats.isClosed();
  }

  get live(): number {
    return this.#streams.live;
  }

  /** Refuses new work, waits for what runs (bounded) and for its frames to be acked, then leaves the bus. */
  async drain(): Promise<void> {
    this.#draining = true;
    this.#beat();
    const end = Date.now() + this.#parts.config.drainTimeoutMs;
    const running = () => this.#streams.live > 0;
    while (running() && Date.now() < end) await sleep(20);
    const ackEnd = Date.now() + Math.min(this.#parts.config.leaseMs, 2_000);
    while (this.#streams.unacked > 0 && Date.now() < ackEnd) await sleep(20);
    await this.close();
  }

  /** Every live request ends in this error; its gateway hears of it before the worker leaves. */
  async fail(error: MillraceError): Promise<void> {
    this.#draining = true;
    this.#streams.failAll(error, Date.now());
    await this.close();
  }

  async close(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    if (!this.#nats.isClosed()) await this.#nats.drain();
  }

  #subscribe(): void {
    const { config } = this.#parts;
    const onSubmit = (error: Error | null, message: Msg) =>
      this.#answer(error, message, () => this.#submit(message.data));
    for (const key of config.names.map(modelKey)) {
      this.#nats.subscribe(subjects.submit(key, config.workerId), { callback: onSubmit });
      this.#nats.subscribe(subjects.submitAny(key), { callback: onSubmit, queue: WORKER_QUEUE });
    }
    const onControl = (error: Error | null, message: Msg) =>
      this.#answer(error, message, () => this.#control(message.data));
    this.#nats.subscribe(subjects.control(config.workerId), { callback: onControl });
    this.#nats.subscribe(subjects.controlAll, { callback: onControl });
  }

  /** A message that cannot be handled costs its sender a refusal and nobody else anything. */
  #answer(error: Error | null, message: Msg, handle: () => object | null): void {
    if (error !== null) return this.#parts.log({ event: 'subscription-error', error: error.message });
    let reply: object | null;
    try {
      reply = handle();
    } catch (thrown) {
      reply = this.#refusal(thrown);
    }
    if (reply !== null && message.reply !== undefined && message.reply !== '')
      message.respond(protocol.encodeMessage(reply));
  }

  #refusal(thrown: unknown): SubmitReply {
    const error = toMillraceError(thrown);
    this.#parts.metrics.rejected(error.code);
    if (ERRORS[error.code].blame === 'system')
      this.#parts.log({ event: 'refused', code: error.code, error: String(error.cause ?? error.message) });
    const { code, message, param, retryAfterMs } = error;
    return {
      type: 'refused',
      ...{ code, message },
      ...(param === undefined ? {} : { param }),
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    };
  }

  #submit(data: Uint8Array): SubmitReply {
    const submit = protocol.decodeMessage(protocol.submitSchema, data);
    const known = this.#streams.find(submit.id);
    if (known?.attempt === submit.attempt) return this.#replies.get(engineId(submit)) ?? this.#admitted(0);
    if (known !== undefined && known.attempt > submit.attempt) {
      throw new MillraceError('invalid_value', 'A later attempt of this request is here.', { param: 'attempt' });
    }
    const request = toEngineRequest(submit, this.#rules, { ...this.#admissionLoad(), nowMs: Date.now() });
    if (known !== undefined)
      this.#parts.engine.abort(engineId(known), 'request_cancelled', 'Replaced by a later attempt.');
    this.#streams.open(submit.id, submit.attempt, { ...submit, nowMs: Date.now() });
    this.#addedTokens += request.promptIds.length;
    this.#parts.engine.add(request);
    const reply = this.#admitted(request.promptIds.length);
    this.#replies.set(request.id, reply);
    this.#logAdmitted(submit, request.promptIds.length);
    return reply;
  }

  #admitted(promptTokens: number): SubmitReply {
    const { fingerprint } = this.#parts.engine.info;
    return { type: 'admitted', worker: this.#parts.config.workerId, epoch: this.epoch, promptTokens, fingerprint };
  }

  #logAdmitted({ id, attempt, tenant }: Submit, promptTokens: number): void {
    this.#parts.log({ event: 'admitted', request: id, attempt, tenant, promptTokens });
  }

  #admissionLoad() {
    return {
      live: this.#streams.live,
      queuedPrefillTokens: this.#load.queuedPrefillTokens + this.#addedTokens,
      tokensPerSecond: this.#tokensPerSecond,
      draining: this.#draining,
    };
  }

  #control(data: Uint8Array): ControlReply | Heartbeat | null {
    const control: Control = protocol.decodeMessage(protocol.controlSchema, data);
    const nowMs = Date.now();
    switch (control.type) {
      case 'ack':
        this.#streams.ack(control, control.seq, nowMs);
        return null;
      case 'cancel':
        return { ok: true, found: this.#cancel(control.id) };
      case 'replay':
        return { ok: true, found: this.#streams.replay(control.id, control.offsets, { ...control, nowMs }) };
      case 'probe':
        this.#beat();
        return this.#heartbeat();
      case 'drain':
        this.#draining = true;
        this.#beat();
        return { ok: true };
    }
  }

  #cancel(id: string): boolean {
    const record = this.#streams.find(id);
    if (record === undefined) return false;
    if (!record.ended) this.#parts.engine.abort(engineId(record), 'request_cancelled', 'The request was cancelled.');
    return true;
  }

  #receive({ deltas, ends, load, step }: OutputsEvent): void {
    const { metrics, log } = this.#parts;
    this.#load = load;
    this.#addedTokens = 0;
    this.#streams.receive(deltas, ends, Date.now());
    metrics.load(load);
    if (step !== null) {
      metrics.step(step);
      const rate = (step.tokens * 1000) / Math.max(0.01, step.scheduleMs + step.runMs + step.sampleMs + step.commitMs);
      this.#tokensPerSecond = this.#tokensPerSecond === null ? rate : this.#tokensPerSecond * 0.9 + rate * 0.1;
    }
    for (const end of ends) {
      this.#replies.delete(end.id);
      const finish = deltas.findLast((delta) => delta.id === end.id)?.finish ?? 'none';
      metrics.ended(end, finish);
      const detail = end.type === 'done' ? end.timings : { code: end.code };
      log({ event: 'ended', request: end.id, finish, ...end.usage, ...detail });
    }
  }

  #sweep(): void {
    for (const record of this.#streams.sweep(Date.now())) {
      this.#parts.engine.abort(engineId(record), 'lease_expired', 'The gateway of this request went silent.');
    }
  }

  #beat(): void {
    this.#publish(subjects.heartbeat(this.#parts.config.workerId), this.#heartbeat());
  }

  #heartbeat(): Heartbeat {
    const { config, engine } = this.#parts;
    const { maxModelLen, slots, fingerprint } = engine.info;
    const { completed, atMs } = engine.lastStep();
    return {
      v: protocol.PROTOCOL_VERSION,
      worker: config.workerId,
      epoch: this.epoch,
      models: [...config.names],
      fingerprint,
      status: this.#draining ? 'draining' : 'ready',
      created: this.#created,
      limits: { maxSequences: slots, maxModelLen, kvTokens: slots * maxModelLen },
      load: {
        running: this.#load.running,
        waiting: Math.max(0, this.#streams.live - this.#load.running),
        queuedPrefillTokens: this.#load.queuedPrefillTokens + this.#addedTokens,
        kvTokens: this.#load.kvTokens,
      },
      step: { completed, atMs },
    };
  }

  /** While disconnected nats.js drops what is published: frame numbers and nudges bring it back by replay. */
  #publish(subject: string, message: object): void {
    if (!this.#nats.isClosed()) this.#nats.publish(subject, protocol.encodeMessage(message));
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
