/** Test support: a worker's frames of one request, in short. */
import { NO_USAGE, type DrawnLogprobs, type Frame, type Usage } from '../../shared/protocol.ts';

export const HEAD = { id: 'chatcmpl-s0-0', attempt: 2 };

export interface Token {
  readonly piece: string;
  readonly reasoning?: string;
  readonly logprobs?: DrawnLogprobs;
}

/** The tokens `from` to `to` of a choice. */
export function delta(choice: number, all: readonly Token[], [from, to]: readonly [number, number] = [0, all.length]) {
  const tokens = all.slice(from, to);
  const logprobs = tokens.flatMap((token) => token.logprobs ?? []);
  const frame: Frame = {
    ...{ ...HEAD, type: 'text-delta', choice, offset: from },
    ...{ ids: tokens.map(() => 1), pieces: tokens.map(({ piece }) => piece) },
    ...(tokens.some(({ reasoning = '' }) => reasoning !== '')
      ? { reasoning: tokens.map(({ reasoning = '' }) => reasoning) }
      : {}),
    ...(logprobs.length > 0 ? { logprobs } : {}),
  };
  return frame;
}

/** One token a character. */
export const tokensOf = (text: string): Token[] => Array.from(text, (piece) => ({ piece }));

/** `tokens`: of the choice in all, where that matters. */
export const choiceEnd = (choice: number, finishReason: 'stop' | 'length' = 'length', tokens = 0): Frame => ({
  ...{ ...HEAD, type: 'choice-end', choice, tokens, finishReason },
});

export function streamEnd(completionTokens: number, more: Partial<Usage> = {}): Frame {
  const usage = { ...NO_USAGE, promptTokens: 3, completionTokens, ...more };
  return { ...HEAD, type: 'stream-end', usage, timings: { queueMs: 0, prefillMs: 0, decodeMs: 0 } };
}

/** Log probabilities of a token that is this text, with one alternative. */
export function drawn(text: string, logprob = -0.5): DrawnLogprobs {
  const bytes = [...new TextEncoder().encode(text)];
  return { id: 1, bytes, logprob, top: [{ id: 2, bytes: [0xff], logprob: -0.1 }] };
}
