/** Gateway Durable Object: holds the bus for its tenants, turns jobs into streams, resumes and stops them. */
import { DurableObject } from 'cloudflare:workers';
import { MillraceError, toMillraceError } from '../shared/errors.ts';
import { PROTOCOL_VERSION, type Submit } from '../shared/protocol.ts';
import { Bus } from './bus.ts';
import { answerJson } from './completions.ts';
import { savingsHeaders, savingsOf } from './compression.ts';
import { limitsOf, routingOf, type Env } from './env.ts';
import { errorResponse } from './errors.ts';
import { parseEventId } from './event-id.ts';
import { Fleet, tooBusy } from './fleet.ts';
import { LiveRequest } from './live-request.ts';
import type { Job } from './request.ts';
import type { SentPrompt } from './sent-prompt.ts';
import { StreamStore, type StreamInfo } from './stream-store.ts';
import { sseStream } from './stream.ts';
import { resumed, Unattended, WATCH_MS } from './unattended.ts';

/** With no token for so long after admission, the 200 goes out and keep-alives begin. */
const HOLD_MS = 10_000;
const PRUNE_INTERVAL_MS = 5 * 60_000;

/** What the Worker sends to `/submit`. */
export interface GatewayJob extends Omit<Job, 'prompt' | 'compression' | 'promptId'>, SentPrompt {
  readonly shard: string;
  readonly tenant: string;
  readonly deadlineMs: number;
  /** Generation goes on without its client. */
  readonly continues: boolean;
}

export class Gateway extends DurableObject<Env> {
  readonly #shardEpoch = crypto.randomUUID();
  readonly #store: StreamStore;
  readonly #unattended: Unattended;
  #fleet: Promise<Fleet> | null = null;
  #pruneAtMs = 0;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#store = new StreamStore(ctx.storage.sql);
    this.#unattended = new Unattended(this.#store);
  }

  override async fetch(request: Request): Promise<Response> {
    const url = new URL(request.url);
    const param = (name: string) => url.searchParams.get(name) ?? '';
    try {
      const connected = () => this.#connected(param('shard'));
      if (url.pathname === '/submit')
        return await this.#submit(await connected(), await request.json<GatewayJob>(), request.signal);
      if (url.pathname === '/workers') return Response.json((await connected()).workers());
      const info = this.#store.find(param('id'), param('tenant'));
      if (info === null) throw new MillraceError('stream_not_found', 'There is no such stream.');
      const fleet = await connected();
      if (url.pathname === '/stop') return await this.#stop(fleet, info);
      return await this.#resume(fleet, info, { eventId: param('offset'), signal: request.signal });
    } catch (thrown) {
      const error = toMillraceError(thrown);
      if (error.cause !== undefined)
        console.error(JSON.stringify({ event: 'gateway-error', error: String(error.cause) }));
      return errorResponse(error);
    }
  }

  /** Forgets old streams now and then, and wakes this gateway while a stream runs that may have no client. */
  override async alarm(): Promise<void> {
    const nowMs = Date.now();
    let left = 1;
    if (nowMs >= this.#pruneAtMs) {
      left = this.#store.prune(nowMs);
      this.#pruneAtMs = nowMs + PRUNE_INTERVAL_MS;
    }
    const running = this.#store.continuing(nowMs);
    if (running.length > 0) {
      await this.#lookAfter(running);
      await this.#wakeIn(WATCH_MS);
    } else if (left > 0) await this.#wakeIn(this.#pruneAtMs - nowMs);
  }

  async #lookAfter(running: readonly StreamInfo[]): Promise<void> {
    // All of one shard, which their ids name.
    const shard = running[0]?.id.split('-')[1] ?? '';
    try {
      this.#unattended.settle(await this.#connected(shard), running);
    } catch (error) {
      // The next alarm tries again.
      console.warn(JSON.stringify({ event: 'not-connected', error: String(error) }));
    }
  }

  /** Unless it wakes sooner anyway. */
  async #wakeIn(delayMs: number): Promise<void> {
    const atMs = Date.now() + delayMs;
    const set = await this.ctx.storage.getAlarm();
    if (set === null || set > atMs) await this.ctx.storage.setAlarm(atMs);
  }

  /** One connection for the life of the object; a failed attempt is forgotten. */
  async #connected(shard: string): Promise<Fleet> {
    this.#fleet ??= this.#connect(shard);
    try {
      return await this.#fleet;
    } catch (cause) {
      this.#fleet = null;
      throw new MillraceError('no_worker', 'No worker can be reached. Try again shortly.', { cause });
    }
  }

  async #connect(shard: string): Promise<Fleet> {
    const { NATS_WS_URL: url, NATS_USER: user, NATS_PASSWORD: password } = this.env;
    // Before anything is opened: either may name a bad setting.
    const routing = routingOf(this.env);
    const { submitTimeoutMs } = limitsOf(this.env);
    const bus = await Bus.connect({ url, user, password, name: `millrace-gateway-${shard}` });
    try {
      const fleet = await Fleet.start({ bus, shard, shardEpoch: this.#shardEpoch, routing, submitTimeoutMs });
      this.ctx.waitUntil(this.#unattended.takeUp(fleet));
      return fleet;
    } catch (error) {
      await bus.close();
      throw error;
    }
  }

  async #submit(fleet: Fleet, job: GatewayJob, signal: AbortSignal): Promise<Response> {
    const prefix = job.kind === 'chat' ? 'chatcmpl' : 'cmpl';
    const id = `${prefix}-${job.shard}-${crypto.randomUUID().replaceAll('-', '').slice(0, 24)}`;
    const submit: Submit = {
      ...{ v: PROTOCOL_VERSION, id, attempt: 1, shard: job.shard, shardEpoch: this.#shardEpoch },
      ...{ tenant: job.tenant, model: job.model, prompt: job.prompt, params: job.params },
      ...{ speculation: job.speculation, cacheSalt: job.cacheSalt, templateValues: job.templateValues },
      ...{ pinnedUnits: job.pinnedUnits, deadlineMs: job.deadlineMs, priority: 0 },
    };
    const { n: choices } = job.params;
    const offsets = Array.from({ length: choices }, () => 0);
    const open = (worker: string, epoch: string) =>
      new LiveRequest({ id, attempt: 1, worker, epoch, offsets, whole: !job.stream, continues: job.continues });
    const { admitted, live } = await fleet.submit(submit, open);
    const created = Math.floor(Date.now() / 1000);
    const { kind, model, includeUsage, tenant, continues } = job;
    const { worker, epoch, fingerprint } = admitted;
    const info: StreamInfo = {
      ...{ id, tenant, worker, epoch, attempt: 1, kind, model },
      ...{ fingerprint, created, includeUsage, choices, continues, stopped: false },
      saved: savingsOf(job.savedBytes, job.prompt, admitted.promptTokens),
    };
    this.#store.save(info, job.deadlineMs);
    await this.#wakeIn(continues ? WATCH_MS : PRUNE_INTERVAL_MS);
    const onGone = this.#watch(fleet, live, signal);
    return job.stream ? this.#stream(fleet, { live, info, onGone }) : this.#whole(fleet, live, info);
  }

  /** What to do once the client is gone: signal, stream cancel or both may tell, the worker hears it once. */
  #watch(fleet: Fleet, live: LiveRequest, signal: AbortSignal): () => void {
    const onGone = () => {
      if (live.detached) return;
      live.detached = true;
      if (!live.continues && !live.ended) this.ctx.waitUntil(fleet.cancel(live.worker, live.id));
    };
    if (signal.aborted) onGone();
    signal.addEventListener('abort', onGone);
    return onGone;
  }

  async #stream(
    fleet: Fleet,
    { live, info, onGone }: { live: LiveRequest; info: StreamInfo; onGone: () => void },
  ): Promise<Response> {
    // An early failure still has a status of its own.
    const early = (await live.wait(HOLD_MS)) ? live.peekError() : null;
    if (early !== null) {
      fleet.detach(live);
      return errorResponse(early);
    }
    const onDone = () => fleet.detach(live);
    const body = sseStream(live, { head: info, onCancel: onGone, onDone });
    const headers = {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache, no-transform',
      'x-accel-buffering': 'no',
      'x-millrace-stream-id': info.id,
      ...savingsHeaders(info.saved),
    };
    return new Response(body, { headers });
  }

  async #whole(fleet: Fleet, live: LiveRequest, info: StreamInfo): Promise<Response> {
    while (!(await live.wait(HOLD_MS)));
    fleet.detach(live);
    const { choices, end, error } = live.take();
    if (end === null) return errorResponse(toMillraceError(error));
    const headers = {
      'x-millrace-stream-id': info.id,
      ...savingsHeaders(info.saved),
      ...timingHeaders(end.timings),
    };
    return Response.json(answerJson(info, choices, end.usage), { headers });
  }

  async #resume(
    fleet: Fleet,
    info: StreamInfo,
    { eventId, signal }: { eventId: string; signal: AbortSignal },
  ): Promise<Response> {
    const live = resumed(info, parseEventId(eventId, info.choices));
    const answer = await fleet.resume(live);
    if (answer === 'silent') throw tooBusy();
    if (answer !== 'found') {
      throw new MillraceError(
        'stream_not_found',
        'The stream has ended and is no longer kept, or its worker was lost.',
      );
    }
    const onGone = this.#watch(fleet, live, signal);
    return this.#stream(fleet, { live, info, onGone });
  }

  async #stop(fleet: Fleet, info: StreamInfo): Promise<Response> {
    const live = fleet.find(info.id);
    if (live !== undefined) live.stopping = true;
    const answer = await fleet.cancel(info.worker, info.id);
    // Of one that has ended it is too late; without an answer it may have been stopped all the same.
    if (answer === 'found' || answer === 'silent') this.#store.markStopped(info);
    if (answer === 'silent') throw tooBusy();
    return Response.json({ id: info.id, object: 'stream', stopped: answer === 'found' });
  }
}

function timingHeaders(
  timings: { queueMs: number; prefillMs: number; decodeMs: number } | null,
): Record<string, string> {
  if (timings === null) return {};
  const { queueMs, prefillMs, decodeMs } = timings;
  return {
    'x-millrace-queue-ms': queueMs.toFixed(1),
    'x-millrace-prefill-ms': prefillMs.toFixed(1),
    'x-millrace-decode-ms': decodeMs.toFixed(1),
  };
}
