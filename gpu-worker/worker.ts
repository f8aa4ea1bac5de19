/** Bus in, bus out: submits, control messages, frames, heartbeats. The worker's only importer of NATS; decides nothing. */
import { randomUUID } from 'node:crypto';
import { connect } from '@nats-io/transport-node';
import type { Msg, NatsConnection, Subscription } from '@nats-io/transport-node';
import { ERRORS, MillraceError, toMillraceError } from '../shared/errors.ts';
import * as protocol from '../shared/protocol.ts';
import type { ControlReply, Heartbeat, KvEvents, Submit, SubmitReply } from '../shared/protocol.ts';
import { modelKey, subjects, WORKER_QUEUE } from '../shared/subjects.ts';
import { drainingError } from './admission.ts';
import { Serving, type ServingParts } from './serving.ts';
import { SubmitLine } from './submit-line.ts';

export interface WorkerParts extends Omit<ServingParts, 'epoch' | 'publish' | 'publishKv'> {
  /** A gateway asked for a drain: the process is to end. */
  readonly onDrain: () => void;
  /** The bus is lost for good. */
  readonly onLost: (reason: string) => void;
}

const SWEEP_INTERVAL_MS = 250;
/** Draining waits so long for the last acks of gateways within their lease. */
const LAST_ACKS_MS = 5_000;
const LEAVE_MS = 2_000;

export class BusWorker {
  readonly #parts: WorkerParts;
  readonly #nats: NatsConnection;
  readonly #serving: Serving;
  readonly #queueSubscriptions: Subscription[] = [];
  readonly #line = new SubmitLine((submit) => this.#submitReply(submit));
  readonly #timers: NodeJS.Timeout[];
  #connected = true;
  #closing = false;

  /** Connects and serves. Rejects when the server cannot be reached or refuses the credentials. */
  static async start(parts: WorkerParts): Promise<BusWorker> {
    const { url, user, password } = parts.config.nats;
    const nats = await connect({
      servers: url,
      name: `millrace-worker-${parts.config.workerId}`,
      ...(user === undefined ? {} : { user, pass: password ?? '' }),
      inboxPrefix: '_INBOX_worker',
      maxReconnectAttempts: -1,
      ignoreAuthErrorAbort: true,
      reconnectTimeWait: 250,
      pingInterval: 5_000,
    });
    const worker = new BusWorker(parts, nats);
    // Whoever waits for the start may submit at once: the server has the subscriptions by now.
    await nats.flush();
    return worker;
  }

  private constructor(parts: WorkerParts, nats: NatsConnection) {
    this.#parts = parts;
    this.#nats = nats;
    const publish = (batch: protocol.FrameBatch) => this.#publish(subjects.gateway(batch.shard), batch);
    const publishKv = (events: KvEvents) => this.#publish(subjects.kv(events.worker, events.shard), events);
    this.#serving = new Serving({ ...parts, epoch: randomUUID(), publish, publishKv });
    this.#subscribe();
    void this.#followConnection();
    this.#timers = [
      setInterval(() => this.#serving.sweep(), SWEEP_INTERVAL_MS),
      setInterval(() => this.#beat(), protocol.HEARTBEAT_INTERVAL_MS),
    ];
    this.#beat();
  }

  get epoch(): string {
    return this.#serving.heartbeat().epoch;
  }

  get draining(): boolean {
    return this.#serving.draining;
  }

  get connected(): boolean {
    return this.#connected;
  }

  /** Requests admitted and not ended. */
  get live(): number {
    return this.#serving.streams.live.size;
  }

  /** Refuses new work, lets what runs end (bounded) and its frames be acked, then leaves the bus. */
  async drain(): Promise<void> {
    const serving = this.#serving;
    this.#stopAdmitting();
    for (const subscription of this.#queueSubscriptions) subscription.unsubscribe();
    this.#beat();
    await until(() => this.live === 0, this.#parts.config.drainTimeoutMs);
    if (this.live > 0) {
      serving.abortAll(new MillraceError('draining', 'The worker shut down before this request ended.'));
      await until(() => this.live === 0, LEAVE_MS);
    }
    await this.fail(new MillraceError('draining', 'The worker shut down before this request ended.'));
  }

  /** Every live request ends in this error; gateways hear of it before the worker leaves the bus. */
  async fail(error: MillraceError): Promise<void> {
    const serving = this.#serving;
    this.#stopAdmitting();
    serving.failAll(error);
    const wait = Math.min(this.#parts.config.leaseMs, LAST_ACKS_MS);
    await until(() => serving.streams.unacked(Date.now()) === 0, wait);
    await this.close();
  }

  /** Leaves the bus, whatever state it is in. */
  async close(): Promise<void> {
    this.#closing = true;
    for (const timer of this.#timers) clearInterval(timer);
    if (this.#nats.isClosed()) return;
    await Promise.race([this.#nats.drain().catch(() => {}), sleep(LEAVE_MS)]);
    await this.#nats.close();
  }

  /** Whoever stands in line hears it now, not after the worker has left. */
  #stopAdmitting(): void {
    this.#serving.draining = true;
    this.#line.dismiss(() => true, refusalOf(drainingError()));
  }

  #subscribe(): void {
    const { names, workerId } = this.#parts.config;
    const listen = (subject: string, handle: (message: Msg) => void, queue?: string): Subscription => {
      const callback = (error: Error | null, message: Msg) => {
        if (error === null) handle(message);
        // Without its subscriptions a worker is deaf, and must not look healthy.
        else if (!this.#closing) this.#parts.onLost(`subscription to ${subject}: ${error.message}`);
      };
      return this.#nats.subscribe(subject, queue === undefined ? { callback } : { callback, queue });
    };
    for (const key of new Set(names.map(modelKey))) {
      listen(subjects.submit(key, workerId), (message) => this.#onSubmit(message));
      const any = listen(subjects.submitAny(key), (message) => this.#onSubmit(message), WORKER_QUEUE);
      this.#queueSubscriptions.push(any);
    }
    listen(subjects.control(workerId), (message) => this.#onControl(message));
    listen(subjects.controlAll, (message) => this.#onRollCall(message));
  }

  async #followConnection(): Promise<void> {
    const { log, onLost } = this.#parts;
    void this.#nats.closed().then((error) => {
      this.#connected = false;
      if (!this.#closing) onLost(`the connection to NATS ended: ${error instanceof Error ? error.message : 'closed'}`);
    });
    for await (const status of this.#nats.status()) {
      if (status.type === 'disconnect') {
        this.#connected = false;
        this.#serving.streams.pause();
        log({ event: 'bus-disconnected' });
      } else if (status.type === 'reconnect') {
        this.#connected = true;
        log({ event: 'bus-reconnected' });
        this.#beat();
        this.#serving.streams.resume(Date.now());
      } else if (status.type === 'error') {
        log({ event: 'bus-error', error: String(status.error) });
      }
    }
  }

  #onSubmit(message: Msg): void {
    const answer = (reply: SubmitReply) => respond(message, reply);
    try {
      const submit = protocol.decodeMessage(protocol.submitSchema, message.data);
      if (this.#line.join(submit, answer)) return;
      const serving = this.#serving;
      if (serving.streams.find(submit.id) === undefined) {
        if (serving.draining) throw drainingError();
        if (this.#line.length >= serving.room) throw serving.crowded();
      }
      this.#line.push(submit, answer);
    } catch (thrown) {
      answer(this.#refusal(thrown));
    }
  }

  #submitReply(submit: Submit): SubmitReply {
    try {
      return this.#serving.submit(submit);
    } catch (thrown) {
      return this.#refusal(thrown);
    }
  }

  #refusal(thrown: unknown): SubmitReply {
    const error = toMillraceError(thrown);
    this.#parts.metrics.rejected(error.code);
    if (ERRORS[error.code].blame === 'system') {
      this.#parts.log({ event: 'refused', code: error.code, error: String(error.cause ?? error.message) });
    }
    return refusalOf(error);
  }

  #onControl(message: Msg): void {
    let reply: ControlReply | Heartbeat | KvEvents | null;
    try {
      reply = this.#control(message.data);
    } catch (thrown) {
      const { code, message: error } = toMillraceError(thrown);
      this.#parts.log({ event: 'control-refused', code, error });
      reply = { ok: false };
    }
    if (reply !== null) respond(message, reply);
  }

  #control(data: Uint8Array): ControlReply | Heartbeat | KvEvents | null {
    const control = protocol.decodeMessage(protocol.controlSchema, data);
    const nowMs = Date.now();
    switch (control.type) {
      case 'ack':
        this.#serving.streams.ack({ ...control, nowMs }, control.seq);
        return null;
      case 'cancel':
        return { ok: true, found: this.#cancel(control.id) };
      case 'replay':
        return { ok: true, found: this.#serving.replay(control.id, control.offsets, { ...control, nowMs }) };
      case 'probe':
        this.#beat();
        return this.#serving.heartbeat();
      case 'kv-snapshot':
        return this.#serving.kvSnapshot(control.shard);
      case 'drain':
        this.#parts.onDrain();
        return { ok: true };
    }
  }

  /** Everybody's control subject: only probes; what is meant for one worker goes to that one. */
  #onRollCall(message: Msg): void {
    try {
      if (protocol.decodeMessage(protocol.controlSchema, message.data).type === 'probe')
        return this.#onControl(message);
    } catch {
      // Answered like every other message that has no place here.
    }
    respond(message, { ok: false } satisfies ControlReply);
  }

  /** In line, waiting, running or ended. */
  #cancel(id: string): boolean {
    const cancelled = new MillraceError('request_cancelled', 'The request was cancelled.');
    if (this.#line.dismiss((submit) => submit.id === id, refusalOf(cancelled))) return true;
    return this.#serving.cancel(id);
  }

  #beat(): void {
    this.#publish(subjects.heartbeat(this.#parts.config.workerId), this.#serving.heartbeat());
  }

  /** What cannot go out is not lost: frames stay in their records, and their missing numbers bring a replay. */
  #publish(subject: string, message: object): void {
    if (this.#nats.isClosed()) return;
    try {
      this.#nats.publish(subject, protocol.encodeMessage(message));
    } catch (error) {
      this.#parts.log({ event: 'publish-failed', error: String(error) });
    }
  }
}

function refusalOf({ code, message, param, retryAfterMs }: MillraceError): SubmitReply {
  const extra = { ...(param === undefined ? {} : { param }), ...(retryAfterMs === undefined ? {} : { retryAfterMs }) };
  return { type: 'refused', code, message, ...extra };
}

/** A sender without a reply subject wants no answer; one who left with the connection gets none. */
function respond(message: Msg, reply: object): void {
  try {
    message.respond(protocol.encodeMessage(reply));
  } catch {
    // The connection is closed: whoever asked sees no reply and asks elsewhere.
  }
}

async function until(condition: () => boolean, timeoutMs: number): Promise<void> {
  const end = Date.now() + timeoutMs;
  while (!condition() && Date.now() < end) await sleep(20);
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
