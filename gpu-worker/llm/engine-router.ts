/** One engine, many callers: gives ids, hands each request its own output, counts all of it. Knows no prompts and no batches. */
import { MillraceError } from '../../shared/errors.ts';
import type { EngineClient, OutputsEvent } from '../engine/engine-client.ts';
import type { ChoiceDelta, EngineRequest, RequestEnd } from '../engine/messages.ts';

/** Where a request's output goes; after `end` or `fail` nothing more comes. */
export interface RequestSink {
  delta(delta: ChoiceDelta): void;
  end(end: RequestEnd): void;
  /** The engine can do no more. */
  fail(error: MillraceError): void;
}

/** What has been computed since the model was loaded. */
export interface Totals {
  readonly promptTokens: number;
  readonly outputTokens: number;
}

interface Live {
  readonly sink: RequestSink;
  readonly promptTokens: number;
  started: boolean;
}

export class EngineRouter {
  readonly #engine: EngineClient;
  readonly #live = new Map<string, Live>();
  readonly #totals = { promptTokens: 0, outputTokens: 0 };
  #sent = 0;
  #failure: MillraceError | null = null;

  constructor(engine: EngineClient) {
    this.#engine = engine;
    engine.onOutputs((event) => this.#receive(event));
    engine.onFatal((message) => {
      const reason = message.split('\n', 1)[0];
      this.#fail(
        new MillraceError('server_error', `The engine failed: ${reason}. Load the model again.`, { cause: message }),
      );
    });
  }

  get totals(): Totals {
    return { ...this.#totals };
  }

  /** Returns the request's id. Throws when the engine has failed or was shut down. */
  submit(request: Omit<EngineRequest, 'id'>, sink: RequestSink): string {
    if (this.#failure !== null) throw this.#failure;
    const id = `r${this.#sent++}`;
    this.#live.set(id, { sink, promptTokens: request.promptIds.length, started: false });
    this.#engine.add({ ...request, id });
    return id;
  }

  /** Its sink hears no more of it; an id that has ended is ignored. */
  cancel(id: string): void {
    if (this.#live.delete(id)) this.#engine.abort(id, 'request_cancelled', 'The request was cancelled.');
  }

  /** What runs ends in an error; resolves when the model is freed. */
  async shutdown(): Promise<void> {
    this.#fail(new MillraceError('request_cancelled', 'The model was disposed of before this request ended.'));
    await this.#engine.shutdown();
  }

  #fail(error: MillraceError): void {
    this.#failure ??= error;
    const live = [...this.#live.values()];
    this.#live.clear();
    for (const { sink } of live) sink.fail(error);
  }

  #receive({ deltas, ends }: OutputsEvent): void {
    for (const delta of deltas) {
      this.#totals.outputTokens += delta.ids.length;
      const live = this.#live.get(delta.id);
      if (live === undefined) continue;
      if (!live.started) this.#totals.promptTokens += live.promptTokens;
      live.started = true;
      live.sink.delta(delta);
    }
    for (const end of ends) {
      const live = this.#live.get(end.id);
      this.#live.delete(end.id);
      live?.sink.end(end);
    }
  }
}
