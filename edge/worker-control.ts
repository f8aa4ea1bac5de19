/** What a gateway asks workers and tells them on their control subjects, and what their silence means. Keeps nothing. */
import * as protocol from '../shared/protocol.ts';
import type { KvEvents } from '../shared/protocol.ts';
import { subjects } from '../shared/subjects.ts';
import { NoResponders, type Bus } from './bus.ts';
import type { LiveRequest } from './live-request.ts';

/** A worker that takes longer is silent. */
export const CONTROL_TIMEOUT_MS = 1_000;

/** gone: nobody listens there; silent: no answer in time, so what was asked may have been done or not. */
export type ControlAnswer = 'found' | 'unknown' | 'gone' | 'silent';

export interface ControlOptions {
  readonly bus: Bus;
  readonly shard: string;
  readonly shardEpoch: string;
}

const VERSION = { v: protocol.PROTOCOL_VERSION };

export class WorkerControl {
  readonly #options: ControlOptions;

  constructor(options: ControlOptions) {
    this.#options = options;
  }

  cancel(worker: string, id: string): Promise<ControlAnswer> {
    return this.#find(worker, { ...VERSION, type: 'cancel', id });
  }

  /** Whether the worker sends again, to this gateway, what its client has not had. */
  replay({ id, worker, offsets }: LiveRequest): Promise<ControlAnswer> {
    const { shard, shardEpoch } = this.#options;
    return this.#find(worker, { ...VERSION, type: 'replay', id, shard, shardEpoch, offsets });
  }

  async probe(worker: string): Promise<'alive' | 'gone' | 'silent'> {
    const answer = await this.#ask(worker, { ...VERSION, type: 'probe' });
    return typeof answer === 'string' ? answer : 'alive';
  }

  /** All workers answer with a heartbeat. */
  callTheRoll(): void {
    this.#options.bus.publish(subjects.controlAll, { ...VERSION, type: 'probe' });
  }

  ack(worker: string, seq: number): void {
    const { bus, shard, shardEpoch } = this.#options;
    bus.publish(subjects.control(worker), { ...VERSION, type: 'ack', shard, shardEpoch, seq });
  }

  /** Null: the worker knows no such question, or was silent. */
  async prefixes(worker: string): Promise<KvEvents | null> {
    const answer = await this.#ask(worker, { ...VERSION, type: 'kv-snapshot', shard: this.#options.shard });
    try {
      return typeof answer === 'string' ? null : protocol.decodeMessage(protocol.kvEventsSchema, answer);
    } catch {
      return null;
    }
  }

  async #find(worker: string, question: object): Promise<ControlAnswer> {
    const answer = await this.#ask(worker, question);
    if (typeof answer === 'string') return answer;
    try {
      return protocol.decodeMessage(protocol.controlReplySchema, answer).found === true ? 'found' : 'unknown';
    } catch {
      return 'silent';
    }
  }

  async #ask(worker: string, question: object): Promise<Uint8Array | 'gone' | 'silent'> {
    try {
      return await this.#options.bus.request(subjects.control(worker), question, CONTROL_TIMEOUT_MS);
    } catch (error) {
      return error instanceof NoResponders ? 'gone' : 'silent';
    }
  }
}
