/** The edge's NATS connection. The only importer of NATS at the edge; knows subjects only as strings. */
import { errors, wsconnect, type Msg, type NatsConnection } from '@nats-io/nats-core';
import { MillraceError } from '../shared/errors.ts';
import { encodeMessage } from '../shared/protocol.ts';

export interface BusOptions {
  readonly url: string;
  readonly user: string;
  readonly password: string;
  readonly name: string;
}

/** Nobody listens on the subject: known within milliseconds. */
export class NoResponders extends Error {
  override readonly name = 'NoResponders';
}

/** Must live inside one Durable Object: workerd ties connections to the context that opened them. */
export class Bus {
  readonly #nats: NatsConnection;
  #connected = true;

  static async connect({ url, user, password, name }: BusOptions): Promise<Bus> {
    const nats = await wsconnect({
      ...{ servers: url, user, pass: password, name, inboxPrefix: '_INBOX_gateway' },
      ...{ maxReconnectAttempts: -1, reconnectTimeWait: 250, pingInterval: 5_000, timeout: 5_000 },
      // Else a server that twice refuses the password while it starts would be left for good.
      ignoreAuthErrorAbort: true,
    });
    return new Bus(nats);
  }

  private constructor(nats: NatsConnection) {
    this.#nats = nats;
    void this.#watch();
  }

  /** False: nothing can be heard, so silence says nothing. */
  get connected(): boolean {
    return this.#connected;
  }

  /** Whether the server itself answers in time: one that stalls, or a way to it that does, looks connected for long. */
  async answers(timeoutMs: number): Promise<boolean> {
    let onLate: () => void = () => {};
    const late = new Promise<boolean>((resolve) => (onLate = () => resolve(false)));
    const timer = setTimeout(onLate, timeoutMs);
    const flushed = this.#nats.flush().then(
      () => true,
      () => false,
    );
    const answer = await Promise.race([flushed, late]);
    clearTimeout(timer);
    return answer;
  }

  /** Throws NoResponders, an Error after `timeoutMs`, or `request_too_large` at once for what the server would not take. */
  async request(subject: string, message: object, timeoutMs: number): Promise<Uint8Array> {
    const data = encodeMessage(message);
    const most = this.#nats.info?.max_payload ?? Infinity;
    if (data.length > most) {
      const size = `The request is too large to be passed on: ${data.length} of at most ${most} bytes.`;
      throw new MillraceError('request_too_large', size);
    }
    try {
      return (await this.#nats.request(subject, data, { timeout: timeoutMs })).data;
    } catch (error) {
      const none = error instanceof errors.RequestError && error.isNoResponders();
      if (none || error instanceof errors.NoRespondersError) throw new NoResponders(subject, { cause: error });
      throw error;
    }
  }

  publish(subject: string, message: object): void {
    this.#nats.publish(subject, encodeMessage(message));
  }

  /** By callback: nats.js iterators queue without bound behind a slow reader. */
  subscribe(subject: string, onMessage: (data: Uint8Array) => void): void {
    this.#nats.subscribe(subject, {
      callback: (error: Error | null, message: Msg) => {
        if (error === null) onMessage(message.data);
      },
    });
  }

  close(): Promise<void> {
    return this.#nats.close();
  }

  async #watch(): Promise<void> {
    for await (const { type } of this.#nats.status()) {
      if (type === 'disconnect') this.#connected = false;
      else if (type === 'reconnect') this.#connected = true;
    }
  }
}
