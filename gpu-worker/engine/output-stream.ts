/** One choice's output: tokens → text pieces, finish reason, usage and timings. Knows no scheduling. */
import { performance } from 'node:perf_hooks';
import type { FinishReason, Timings, Usage } from '../../shared/protocol.ts';
import type { Detokenizer } from '../text/detokenizer.ts';
import type { ChoiceDelta, EngineRequest } from './messages.ts';
import { StopMatcher, tokenFinish, type StopRules } from './stop.ts';

export class OutputStream {
  readonly #request: EngineRequest;
  readonly #rules: StopRules;
  readonly #detokenizer: Detokenizer;
  readonly #stops: StopMatcher;
  readonly #addedAt = performance.now();
  #scheduledAt: number | null = null;
  #firstTokenAt: number | null = null;
  #outputTokens = 0;

  constructor(request: EngineRequest, rules: StopRules, detokenizer: Detokenizer) {
    this.#request = request;
    this.#rules = rules;
    this.#detokenizer = detokenizer;
    this.#stops = new StopMatcher(request.params.stop);
    // An earlier attempt's tokens set the state of decoder and matcher; their text is out already.
    for (const id of request.generatedIds) this.#stops.push(this.#detokenizer.push(id));
    this.#outputTokens = request.generatedIds.length;
  }

  get usage(): Usage {
    const promptTokens = this.#request.promptIds.length;
    return { promptTokens, completionTokens: this.#outputTokens, cachedTokens: 0 };
  }

  markScheduled(): void {
    this.#scheduledAt ??= performance.now();
  }

  timings(): Timings {
    const end = performance.now();
    const scheduled = this.#scheduledAt ?? end;
    const first = this.#firstTokenAt ?? end;
    return { queueMs: scheduled - this.#addedAt, prefillMs: first - scheduled, decodeMs: end - first };
  }

  push(token: number): ChoiceDelta {
    this.#firstTokenAt ??= performance.now();
    const offset = this.#outputTokens++;
    const { piece, finish } = this.#text(token);
    return { id: this.#request.id, choice: 0, offset, ids: [token], pieces: [piece], finish };
  }

  #text(token: number): { readonly piece: string; readonly finish: FinishReason | null } {
    const finish = tokenFinish(this.#rules, token, this.#outputTokens);
    // The token that stops generation is no text, even where its bytes would be printable.
    const bytes = finish === 'stop' ? '' : this.#detokenizer.push(token);
    const { text, stopped } = this.#stops.push(bytes);
    if (stopped) return { piece: text, finish: 'stop' };
    if (finish === null) return { piece: text, finish: null };
    const last = this.#stops.push(this.#detokenizer.flush());
    return { piece: text + last.text + (last.stopped ? '' : this.#stops.flush()), finish };
  }
}
