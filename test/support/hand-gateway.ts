/** Test support: a gateway by hand, a NATS client that collects one worker's frames and acks them when told to. */
import { connect, type NatsConnection } from '@nats-io/transport-node';
import type { NatsServer } from '../../infra/dev/nats.ts';
import { ACK_INTERVAL_MS, type Frame, type FrameBatch, type Prompt } from '../../shared/protocol.ts';
import { DEFAULT_SAMPLING, type SamplingParams } from '../../shared/sampling.ts';
import { modelKey, subjects } from '../../shared/subjects.ts';

export interface GatewayIdentity {
  readonly worker: string;
  readonly model: string;
  readonly shardEpoch: string;
}

export class HandGateway implements AsyncDisposable {
  readonly batches: FrameBatch[] = [];
  readonly nats: NatsConnection;
  readonly identity: GatewayIdentity;
  /** Acks what has arrived every ACK_INTERVAL_MS. */
  acking = true;
  /** Drops what arrives, as if it were lost on the way. */
  deaf = false;
  readonly #timer: NodeJS.Timeout;

  static async connect(server: NatsServer, identity: GatewayIdentity): Promise<HandGateway> {
    const { user, password: pass } = server.gateway;
    const options = { servers: server.url, user, pass, inboxPrefix: '_INBOX_gateway' };
    return new HandGateway(await connect({ ...options, maxReconnectAttempts: -1, reconnectTimeWait: 50 }), identity);
  }

  private constructor(nats: NatsConnection, identity: GatewayIdentity) {
    this.nats = nats;
    this.identity = identity;
    nats.subscribe(subjects.gateway('s0'), {
      callback: (_, message) => {
        const batch = message.json<FrameBatch>();
        if (batch.shardEpoch === identity.shardEpoch && !this.deaf) this.batches.push(batch);
      },
    });
    this.#timer = setInterval(() => {
      if (this.acking) this.ack();
    }, ACK_INTERVAL_MS);
  }

  get seqs(): number[] {
    return this.batches.map(({ seq }) => seq);
  }

  frames(id: string): Frame[] {
    return this.batches.flatMap(({ frames }) => frames).filter((frame) => frame.id === id);
  }

  /** Output of a request in order and once, as a gateway puts it together; throws on a hole. */
  output(id: string, from = 0): number[] {
    const ids: number[] = [];
    for (const frame of this.frames(id)) {
      if (frame.type !== 'text-delta') continue;
      const skip = from + ids.length - frame.offset;
      if (skip < 0) throw new Error(`${id}: a hole before output ${frame.offset}`);
      ids.push(...frame.ids.slice(skip));
    }
    return ids;
  }

  ends(id: string): Frame[] {
    return this.frames(id).filter(({ type }) => type === 'stream-end' || type === 'stream-error');
  }

  ack(seq = this.batches.at(-1)?.seq ?? 0): void {
    const { worker, shardEpoch } = this.identity;
    if (this.nats.isClosed()) return;
    this.nats.publish(subjects.control(worker), JSON.stringify({ v: 1, type: 'ack', shard: 's0', shardEpoch, seq }));
  }

  async request(subject: string, message: unknown): Promise<Record<string, unknown>> {
    const data = typeof message === 'string' ? message : JSON.stringify(message);
    return (await this.nats.request(subject, data, { timeout: 15_000 })).json();
  }

  submit(id: string, extra: object = {}, params: Partial<SamplingParams> = {}): Promise<Record<string, unknown>> {
    const { worker, model } = this.identity;
    return this.request(subjects.submit(modelKey(model), worker), this.job(id, extra, params));
  }

  job(id: string, extra: object = {}, params: Partial<SamplingParams> = {}): object {
    const { model, shardEpoch } = this.identity;
    const prompt: Prompt = { type: 'tokens', ids: [5, 6, 7] };
    return {
      ...{ v: 1, id, attempt: 1, shard: 's0', shardEpoch, tenant: 't', model, prompt },
      ...{ params: { ...DEFAULT_SAMPLING, ...params }, deadlineMs: Date.now() + 60_000, priority: 0 },
      ...extra,
    };
  }

  control(message: object): Promise<Record<string, unknown>> {
    return this.request(subjects.control(this.identity.worker), { v: 1, ...message });
  }

  replay(id: string, offset: number): Promise<Record<string, unknown>> {
    const { shardEpoch } = this.identity;
    return this.control({ type: 'replay', id, shard: 's0', shardEpoch, offsets: [offset] });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    await this.nats.close();
  }
}
