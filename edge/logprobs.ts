/** Log probabilities in OpenAI's two forms: of chats, and of text completions. Pure. */
import type { DrawnLogprobs } from '../shared/protocol.ts';
import type { TokenLogprobs } from './choice-output.ts';

type Token = Omit<DrawnLogprobs, 'top'>;

const decoder = new TextDecoder('utf-8', { fatal: false, ignoreBOM: true });

/** `choices[].logprobs` of a chat; null when not asked for. Logarithms are natural, −9999 stands for minus infinity. */
export function chatLogprobsJson(logprobs: readonly TokenLogprobs[] | null): object | null {
  if (logprobs === null) return null;
  const content = logprobs.map((drawn) => ({ ...tokenJson(drawn), top_logprobs: drawn.top.map(tokenJson) }));
  return { content, refusal: null };
}

/**
 * `choices[].logprobs` of a text completion. `top_logprobs` has the alternatives and the drawn token, as OpenAI's; of
 * several that decode to the same text the likeliest stands. `text_offset` counts characters of the choice's text.
 */
export function textLogprobsJson(logprobs: readonly TokenLogprobs[] | null): object | null {
  if (logprobs === null) return null;
  return {
    tokens: logprobs.map(({ bytes }) => decode(bytes)),
    token_logprobs: logprobs.map(({ logprob }) => logprob),
    top_logprobs: logprobs.map((drawn) => byText([drawn, ...drawn.top])),
    text_offset: logprobs.map(({ textOffset }) => textOffset),
  };
}

/** A token without bytes (end of sequence) has null, as OpenAI says it. */
function tokenJson({ bytes, logprob }: Token): object {
  return { token: decode(bytes), logprob, bytes: bytes.length === 0 ? null : bytes };
}

function byText(tokens: readonly Token[]): Record<string, number> {
  const ascending = tokens.toSorted((a, b) => a.logprob - b.logprob);
  return Object.fromEntries(ascending.map(({ bytes, logprob }) => [decode(bytes), logprob]));
}

/** Bytes that are no whole character become U+FFFD. */
function decode(bytes: readonly number[]): string {
  return decoder.decode(Uint8Array.from(bytes));
}
