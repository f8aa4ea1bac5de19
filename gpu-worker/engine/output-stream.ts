/** One choice's output: tokens → text pieces, reasoning apart, log probabilities, finish reason. Knows no scheduling. */
import type { DrawnLogprobs, FinishReason } from '../../shared/protocol.ts';
import type { Detokenizer } from '../text/detokenizer.ts';
import { ReasoningSplitter } from '../text/reasoning.ts';
import type { ChoiceDelta, EngineRequest } from './messages.ts';
import type { TokenLogprobs } from './step-plan.ts';
import { StopMatcher, tokenFinish } from './stop.ts';

/** Stands for minus infinity. */
const LEAST_LOGPROB = -9999;

interface Piece {
  readonly text: string;
  readonly finish: FinishReason | null;
}

export class OutputStream {
  readonly #request: EngineRequest;
  readonly #choice: number;
  readonly #detokenizer: Detokenizer;
  readonly #stops: StopMatcher;
  readonly #splitter: ReasoningSplitter | null;
  #outputTokens = 0;
  #reasoningTokens = 0;

  constructor(request: EngineRequest, choice: number, detokenizer: Detokenizer) {
    this.#request = request;
    this.#choice = choice;
    this.#detokenizer = detokenizer;
    this.#stops = new StopMatcher(request.params.stop);
    this.#splitter = request.reasoning === null ? null : new ReasoningSplitter(request.reasoning);
    // An earlier attempt's tokens set the state of decoder and matchers; their text is out already.
    for (const id of request.generatedIds) {
      this.#outputTokens++;
      this.#split(this.#untilStop(this.#detokenizer.push(id)).text);
    }
  }

  get outputTokens(): number {
    return this.#outputTokens;
  }

  get reasoningTokens(): number {
    return this.#reasoningTokens;
  }

  /** `tokens` in order; those after the one that ends the choice are left out. */
  push(tokens: Int32Array, logprobs: readonly (TokenLogprobs | null)[] | null): ChoiceDelta {
    const offset = this.#outputTokens;
    const ids: number[] = [];
    const pieces: string[] = [];
    const reasoning: string[] = [];
    let finish: FinishReason | null = null;
    for (let i = 0; i < tokens.length && finish === null; i++) {
      const token = tokens[i] ?? 0;
      this.#outputTokens++;
      const piece = this.#text(token);
      finish = piece.finish;
      const split = this.#split(piece.text, finish !== null);
      ids.push(token);
      pieces.push(split.content);
      reasoning.push(split.reasoning);
    }
    return {
      ...{ id: this.#request.id, choice: this.#choice, offset, ids, pieces, finish },
      reasoning: reasoning.every((text) => text === '') ? null : reasoning,
      logprobs: this.#logprobs(ids, logprobs),
    };
  }

  #text(token: number): Piece {
    const { params } = this.#request;
    const finish = tokenFinish(params, token, this.#outputTokens);
    // The token that stops generation is no text, even where its bytes would be printable.
    const bytes = finish === 'stop' ? '' : this.#detokenizer.push(token);
    const { text, stopped } = this.#untilStop(bytes);
    if (stopped) return { text, finish: 'stop' };
    if (finish === null) return { text, finish: null };
    const last = this.#untilStop(this.#detokenizer.flush());
    return { text: text + last.text + (last.stopped ? '' : this.#stops.flush()), finish };
  }

  /** Text of the first `minTokens` tokens ends nothing, nor is it a part of what does. */
  #untilStop(text: string): ReturnType<StopMatcher['push']> {
    if (this.#outputTokens <= this.#request.params.minTokens) return { text, stopped: false };
    return this.#stops.push(text);
  }

  #split(text: string, last = false): { readonly content: string; readonly reasoning: string } {
    if (this.#splitter === null) return { content: text, reasoning: '' };
    if (this.#splitter.thinking) this.#reasoningTokens++;
    const split = this.#splitter.push(text);
    if (!last) return split;
    const held = this.#splitter.flush();
    return { content: split.content + held.content, reasoning: split.reasoning + held.reasoning };
  }

  /** A step has log probabilities as soon as one of its rows asked; null for a request that did not. */
  #logprobs(ids: readonly number[], drawn: readonly (TokenLogprobs | null)[] | null): readonly DrawnLogprobs[] | null {
    if (drawn === null || this.#request.params.logprobs === null) return null;
    return ids.flatMap((id, i) => this.#logprobsOf(id, drawn[i] ?? null));
  }

  #logprobsOf(id: number, drawn: TokenLogprobs | null): DrawnLogprobs[] {
    if (drawn === null) return [];
    const withBytes = (token: number, logprob: number) => {
      return { id: token, bytes: [...this.#detokenizer.bytesOf(token)], logprob: Math.max(logprob, LEAST_LOGPROB) };
    };
    return [{ ...withBytes(id, drawn.logprob), top: drawn.top.map((each) => withBytes(each.id, each.logprob)) }];
  }
}
