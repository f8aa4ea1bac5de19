/** Test support: a worker by hand, a NATS client that heartbeats, admits what is submitted and sends the frames it is told to. */
import { connect, type NatsConnection } from '@nats-io/transport-node';
import type { NatsServer } from '../../infra/dev/nats.ts';
import type { Control, Frame, Submit } from '../../shared/protocol.ts';
import { modelKey, subjects } from '../../shared/subjects.ts';

export class HandWorker implements AsyncDisposable {
  readonly worker: string;
  /** Of its heartbeats. */
  epoch = 'e1';
  /** Of its replies; a worker that restarted since its last heartbeat differs. */
  admitsAs = 'e1';
  /** What it hears and does not answer. */
  mutes: (type: 'submit' | Control['type']) => boolean = () => false;
  /** Whether it knows what it is asked about. */
  found = true;
  readonly submits: Submit[] = [];
  readonly controls: Control[] = [];
  readonly #nats: NatsConnection;
  readonly #model: string;
  #seq = 0;

  static async connect(server: NatsServer, worker: string, model = 'm'): Promise<HandWorker> {
    const { user, password: pass } = server.worker;
    const nats = await connect({ servers: server.url, user, pass, inboxPrefix: '_INBOX_worker' });
    return new HandWorker(nats, worker, model);
  }

  private constructor(nats: NatsConnection, worker: string, model: string) {
    this.#nats = nats;
    this.worker = worker;
    this.#model = model;
    nats.subscribe(subjects.submit(modelKey(model), worker), {
      callback: (_, message) => {
        this.submits.push(message.json<Submit>());
        if (this.mutes('submit')) return;
        const admitted = { type: 'admitted', worker, epoch: this.admitsAs, promptTokens: 1, fingerprint: 'f' };
        message.respond(JSON.stringify(admitted));
      },
    });
    nats.subscribe(subjects.control(worker), {
      callback: (_, message) => {
        const control = message.json<Control>();
        this.controls.push(control);
        if (!this.mutes(control.type)) message.respond(JSON.stringify({ ok: true, found: this.found }));
      },
    });
  }

  async heartbeat(): Promise<void> {
    const beat = {
      ...{
        v: 1,
        worker: this.worker,
        epoch: this.epoch,
        models: [this.#model],
        fingerprint: 'f',
        status: 'ready',
        created: 1,
      },
      ...{ limits: { maxSequences: 4, maxModelLen: 100, kvTokens: 400 }, step: { completed: 0, atMs: 0 } },
      load: { running: 0, waiting: 0, queuedPrefillTokens: 0, kvTokens: 0 },
    };
    this.#nats.publish(subjects.heartbeat(this.worker), JSON.stringify(beat));
    await this.#nats.flush();
  }

  /** A batch that the bus loses. */
  skip(): void {
    this.#seq++;
  }

  /** One batch to the gateway that submitted last; `from` is the epoch it claims. */
  async send(frames: readonly Frame[], from = this.epoch): Promise<void> {
    const { shard, shardEpoch } = this.submits.at(-1) ?? { shard: '', shardEpoch: '' };
    const batch = { v: 1, worker: this.worker, epoch: from, shard, shardEpoch, seq: ++this.#seq, frames };
    this.#nats.publish(subjects.gateway(shard), JSON.stringify(batch));
    await this.#nats.flush();
  }

  /** Control messages of one kind so far. */
  heard(type: Control['type']): number {
    return this.controls.filter((control) => control.type === type).length;
  }

  /** Nobody listens any more once it resolves. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#nats.isClosed()) await this.#nats.drain();
  }
}
