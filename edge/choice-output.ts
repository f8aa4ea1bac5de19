/** One choice's output, put in order, once, by token offset: what waits to be written. Knows no request and no HTTP. */
import type { DrawnLogprobs, FinishReason, TextDelta } from '../shared/protocol.ts';

export interface TokenLogprobs extends DrawnLogprobs {
  /** Characters of the choice's text before this token's, since the stream was opened or resumed. */
  readonly textOffset: number;
}

/** Deltas that waited are merged. */
export interface ChoicePart {
  readonly text: string;
  readonly reasoning: string;
  /** Null: not asked for. */
  readonly logprobs: readonly TokenLogprobs[] | null;
  /** Output tokens up to and with this part. */
  readonly offset: number;
  readonly finishReason: FinishReason | null;
}

export class ChoiceOutput {
  finish: FinishReason | null = null;
  #offset: number;
  #text = '';
  #reasoning = '';
  #logprobs: TokenLogprobs[] | null = null;
  #textLength = 0;

  constructor(offset: number) {
    this.#offset = offset;
  }

  /** Output tokens received: where a replay goes on. */
  get offset(): number {
    return this.#offset;
  }

  get waiting(): boolean {
    return this.#text !== '' || this.#reasoning !== '' || this.#logprobs !== null;
  }

  /** How many of its tokens are new; null: tokens before it are missing. */
  accept({ offset, ids, pieces, reasoning = [], logprobs }: TextDelta): number | null {
    const skip = this.#offset - offset;
    if (skip < 0) return null;
    if (skip >= ids.length) return 0;
    if (logprobs !== undefined) this.#addLogprobs(logprobs.slice(skip), pieces.slice(skip));
    this.#text += pieces.slice(skip).join('');
    this.#reasoning += reasoning.slice(skip).join('');
    this.#offset = offset + ids.length;
    return ids.length - skip;
  }

  /** False: tokens before its end are missing. */
  end(tokens: number, finish: FinishReason): boolean {
    if (this.#offset < tokens) return false;
    this.finish = finish;
    return true;
  }

  take(): ChoicePart {
    const part = {
      ...{ text: this.#text, reasoning: this.#reasoning, logprobs: this.#logprobs },
      ...{ offset: this.#offset, finishReason: this.finish },
    };
    this.#text = '';
    this.#reasoning = '';
    this.#logprobs = null;
    return part;
  }

  #addLogprobs(logprobs: readonly DrawnLogprobs[], pieces: readonly string[]): void {
    this.#logprobs ??= [];
    for (const [i, drawn] of logprobs.entries()) {
      this.#logprobs.push({ ...drawn, textOffset: this.#textLength });
      this.#textLength += Array.from(pieces[i] ?? '').length;
    }
  }
}
