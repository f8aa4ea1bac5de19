/** One request's choices on their way out: streams, who is still open, usage and timings of the whole. Knows no scheduling. */
import { performance } from 'node:perf_hooks';
import type { Timings, Usage } from '../../shared/protocol.ts';
import { Detokenizer, type TokenBytes } from '../text/detokenizer.ts';
import type { ChoiceDelta, EngineRequest } from './messages.ts';
import { OutputStream } from './output-stream.ts';
import type { DrawnTokens } from './scheduler.ts';
import type { Sequence } from './sequence.ts';

export class RequestOutput {
  readonly request: EngineRequest;
  readonly #streams = new Map<Sequence, OutputStream>();
  readonly #open: Set<Sequence>;
  readonly #addedAt = performance.now();
  #scheduledAt: number | null = null;
  #firstTokenAt: number | null = null;
  #acceptedTokens = 0;

  constructor(request: EngineRequest, sequences: readonly Sequence[], tokenBytes: TokenBytes) {
    this.request = request;
    this.#open = new Set(sequences);
    for (const sequence of sequences) {
      this.#streams.set(sequence, new OutputStream(request, sequence.choice, new Detokenizer(tokenBytes)));
    }
  }

  /** Sequences that have not ended. */
  get open(): ReadonlySet<Sequence> {
    return this.#open;
  }

  get usage(): Usage {
    const usage = { completionTokens: 0, reasoningTokens: 0, draftedTokens: 0, acceptedTokens: this.#acceptedTokens };
    let cachedTokens = 0;
    for (const [sequence, stream] of this.#streams) {
      usage.completionTokens += stream.outputTokens;
      usage.reasoningTokens += stream.reasoningTokens;
      usage.draftedTokens += sequence.draftedTokens;
      // The prompt counts once: further choices find it because the first has just computed it.
      if (sequence.choice === 0) cachedTokens = sequence.cachedTokens;
    }
    return { promptTokens: this.request.promptIds.length, cachedTokens, ...usage };
  }

  get timings(): Timings {
    const end = performance.now();
    const scheduled = this.#scheduledAt ?? end;
    const first = this.#firstTokenAt ?? end;
    return { queueMs: scheduled - this.#addedAt, prefillMs: first - scheduled, decodeMs: end - first };
  }

  markScheduled(): void {
    this.#scheduledAt ??= performance.now();
  }

  /** Output of one choice; with a finish reason it was its last, and what was drawn after it is thrown away. */
  push(drawn: DrawnTokens): ChoiceDelta | null {
    const { sequence, tokens, logprobs } = drawn;
    const stream = this.#streams.get(sequence);
    if (stream === undefined || !this.#open.has(sequence)) return null;
    this.#firstTokenAt ??= performance.now();
    const delta = stream.push(tokens, logprobs);
    this.#acceptedTokens += acceptedDrafts(drawn, delta);
    if (delta.finish !== null) this.#open.delete(sequence);
    return delta;
  }
}

/** Drafts that became output: of what a row draws all but the last token was drafted. */
export function acceptedDrafts({ tokens }: DrawnTokens, { ids }: ChoiceDelta): number {
  return Math.min(ids.length, tokens.length - 1);
}
