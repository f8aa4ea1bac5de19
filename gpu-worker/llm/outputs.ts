/** The engine's deltas → outputs as callers of the library see them: vLLM's RequestOutput and CompletionOutput. Knows no engine. */
import type { DrawnLogprobs, FinishReason, Timings, Usage } from '../../shared/protocol.ts';
import type { ChoiceDelta } from '../engine/messages.ts';
import type { PromptInput } from './prompts.ts';

export interface TokenLogprob {
  readonly id: number;
  /** Of this token alone: a part of a character shows as U+FFFD. */
  readonly text: string;
  /** Natural logarithm; −9999 stands for minus infinity. */
  readonly logprob: number;
}

export interface DrawnLogprob extends TokenLogprob {
  /** The likeliest tokens at this place, best first. */
  readonly top: readonly TokenLogprob[];
}

/** One choice of a request. */
export interface CompletionOutput {
  readonly index: number;
  readonly text: string;
  readonly tokenIds: readonly number[];
  /** What the model thought aloud before its answer; null when it did not. */
  readonly reasoning: string | null;
  /** One for each token; null when not asked for. */
  readonly logprobs: readonly DrawnLogprob[] | null;
  readonly finishReason: FinishReason;
}

export interface RequestOutput {
  /** Position among the prompts. */
  readonly index: number;
  readonly prompt: PromptInput;
  /** One for each of the n choices. */
  readonly outputs: readonly CompletionOutput[];
  readonly usage: Usage;
  readonly timings: Timings;
}

/** New output of one choice of a streamed request; the last one has the `end`. */
export interface StreamDelta {
  /** Choice, 0 to n − 1. */
  readonly index: number;
  readonly text: string;
  readonly tokenIds: readonly number[];
  readonly reasoning: string | null;
  readonly logprobs: readonly DrawnLogprob[] | null;
  /** With the last delta of its choice. */
  readonly finishReason: FinishReason | null;
  /** When all choices have ended; null before. */
  readonly end: { readonly usage: Usage; readonly timings: Timings } | null;
}

export function toStreamDelta({ choice, ids, pieces, reasoning, logprobs, finish }: ChoiceDelta): StreamDelta {
  return {
    index: choice,
    text: pieces.join(''),
    tokenIds: ids,
    reasoning: reasoning === null ? null : reasoning.join(''),
    logprobs: logprobs === null ? null : logprobs.map(toLogprob),
    finishReason: finish,
    end: null,
  };
}

/** Two deltas of one choice, in order, as one. */
export function merged(a: StreamDelta, b: StreamDelta): StreamDelta {
  return {
    index: a.index,
    text: a.text + b.text,
    tokenIds: [...a.tokenIds, ...b.tokenIds],
    reasoning: a.reasoning === null && b.reasoning === null ? null : (a.reasoning ?? '') + (b.reasoning ?? ''),
    logprobs: a.logprobs === null && b.logprobs === null ? null : [...(a.logprobs ?? []), ...(b.logprobs ?? [])],
    finishReason: b.finishReason,
    end: b.end,
  };
}

interface OpenChoice {
  text: string;
  readonly tokenIds: number[];
  reasoning: string | null;
  logprobs: DrawnLogprob[] | null;
  finishReason: FinishReason | null;
}

/** Collects a request's choices until it ends. */
export class OutputBuilder {
  readonly #choices: OpenChoice[] = [];

  push(delta: ChoiceDelta): void {
    const { index, text, tokenIds, reasoning, logprobs, finishReason } = toStreamDelta(delta);
    const empty = { text: '', tokenIds: [], reasoning: null, logprobs: null, finishReason: null };
    const choice = (this.#choices[index] ??= empty);
    choice.text += text;
    choice.tokenIds.push(...tokenIds);
    if (reasoning !== null) choice.reasoning = (choice.reasoning ?? '') + reasoning;
    if (logprobs !== null) (choice.logprobs ??= []).push(...logprobs);
    choice.finishReason = finishReason;
  }

  /** Once every choice has ended. */
  outputs(): readonly CompletionOutput[] {
    return this.#choices.map(({ finishReason, ...choice }, index) => {
      if (finishReason === null) throw new Error(`choice ${index} has not ended`);
      return { index, ...choice, finishReason };
    });
  }
}

const decoder = new TextDecoder();

function toLogprob({ top, ...drawn }: DrawnLogprobs): DrawnLogprob {
  const withText = ({ id, bytes, logprob }: Omit<DrawnLogprobs, 'top'>): TokenLogprob => {
    return { id, text: decoder.decode(Uint8Array.from(bytes)), logprob };
  };
  return { ...withText(drawn), top: top.map(withText) };
}
