/** Test support: a gateway's fleet and a worker by hand on a real nats-server. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest';
import { Bus } from '../../edge/bus.ts';
import { Fleet } from '../../edge/fleet.ts';
import { LiveRequest, type LiveRequestHead } from '../../edge/live-request.ts';
import { startNats, type NatsServer } from '../../infra/dev/nats.ts';
import type { Frame, Submit } from '../../shared/protocol.ts';
import { DEFAULT_SAMPLING } from '../../shared/sampling.ts';
import { HandWorker } from './hand-worker.ts';
import { until } from './stack.ts';

const SHARD = 's0';

type Head = Partial<Pick<LiveRequestHead, 'id' | 'attempt' | 'offsets' | 'continues'>>;
type Asked = Head & { readonly model?: string };

export class FleetWorld implements AsyncDisposable {
  readonly nats: NatsServer;
  readonly fleet: Fleet;
  worker: HandWorker;
  readonly #shardEpoch: string;

  /** By default the gateway is patient: nats-server may stall. The worker is known when it resolves. */
  static async start(nats: NatsServer, submitTimeoutMs = 15_000): Promise<FleetWorld> {
    const worker = await HandWorker.connect(nats, `w-${randomUUID()}`);
    const { user, password } = nats.gateway;
    const bus = await Bus.connect({ url: nats.wsUrl, user, password, name: 'test' });
    const shardEpoch = randomUUID();
    const fleet = await Fleet.start({ bus, shard: SHARD, shardEpoch, submitTimeoutMs });
    const world = new FleetWorld({ nats, worker, fleet, shardEpoch });
    await world.beat(worker.epoch);
    return world;
  }

  private constructor(parts: { nats: NatsServer; worker: HandWorker; fleet: Fleet; shardEpoch: string }) {
    this.nats = parts.nats;
    this.worker = parts.worker;
    this.fleet = parts.fleet;
    this.#shardEpoch = parts.shardEpoch;
  }

  /** A heartbeat of this incarnation, heard. */
  async beat(epoch: string): Promise<void> {
    const { worker, fleet } = this;
    worker.epoch = epoch;
    await until(async () => {
      // Again where the gateway was not there to hear it.
      await worker.heartbeat();
      return fleet.workers().some((known) => known.worker === worker.worker && known.epoch === epoch);
    });
  }

  /** The same name again, after it was closed: a new process. */
  async restart(epoch: string): Promise<void> {
    this.worker = await HandWorker.connect(this.nats, this.worker.worker);
    await this.beat(epoch);
  }

  async submit({ model = 'm', ...head }: Asked = {}, text = 'hi'): Promise<LiveRequest> {
    const { id = 'r1', attempt = 1, offsets = [0] } = head;
    const job: Submit = {
      ...{ v: 1, id, attempt, shard: SHARD, shardEpoch: this.#shardEpoch, tenant: 't', model, priority: 0 },
      ...{ prompt: { type: 'text', text }, params: { ...DEFAULT_SAMPLING, n: offsets.length } },
      ...{ speculation: 'auto', cacheSalt: '', templateValues: {}, deadlineMs: Date.now() + 60_000 },
    };
    const { live } = await this.fleet.submit(job, (worker, epoch) => this.request({ ...head, worker, epoch }));
    return live;
  }

  /** As a client that opens or resumes a stream has it. */
  request(head: Head & Partial<Pick<LiveRequestHead, 'worker' | 'epoch'>> = {}): LiveRequest {
    const { worker, epoch } = this.worker;
    return new LiveRequest({
      ...{ id: 'r1', attempt: 1, worker, epoch, offsets: [0], whole: false, continues: false },
      ...head,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.worker[Symbol.asyncDispose]();
    await this.fleet.close();
  }
}

/** Of request `r1`. */
export const deltaOf = (offset: number, text: string, { attempt = 1, choice = 0 } = {}): Frame => ({
  ...{ type: 'text-delta', id: 'r1', attempt, choice, offset },
  ...{ ids: [...text].map(() => 1), pieces: [...text] },
});

export const textOf = (live: LiveRequest): string =>
  live
    .take()
    .choices.map(({ text }) => text)
    .join('|');

/** A nats-server for all tests of a file, and a world for each of them. */
export function stageWorlds(): { readonly nats: NatsServer; readonly world: FleetWorld } {
  let nats: NatsServer;
  let world: FleetWorld;
  beforeAll(async () => {
    nats = await startNats();
  });
  afterAll(async () => {
    await nats[Symbol.asyncDispose]();
  });
  beforeEach(async () => {
    world = await FleetWorld.start(nats);
  });
  afterEach(async () => {
    await world[Symbol.asyncDispose]();
  });
  return {
    get nats() {
      return nats;
    },
    get world() {
      return world;
    },
  };
}
