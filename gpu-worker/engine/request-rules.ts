/** A request's sampling parameters → the rules its rows carry. Knows no logits. */
import type { LogitsMask, LogitsRules } from '../sample/logits-rules.ts';
import type { TokenHistory } from '../sample/token-history.ts';
import type { EngineRequest } from './messages.ts';

/** Null when the request changes no logits. Gives the history the prompt's ids only for who looks at them. */
export function rulesOf(
  { params, promptIds }: EngineRequest,
  history: TokenHistory,
  mask: LogitsMask | null,
): LogitsRules | null {
  const { repetitionPenalty, frequencyPenalty, presencePenalty, logitBias: bias, minTokens } = params;
  const penalized = repetitionPenalty !== 1 || frequencyPenalty !== 0 || presencePenalty !== 0;
  const { stopTokenIds, eosIds } = params;
  const forbidden = minTokens === 0 ? null : { ids: [...eosIds, ...stopTokenIds], untilIndex: minTokens };
  if (!penalized && bias.length === 0 && forbidden === null && mask === null) return null;
  if (repetitionPenalty !== 1) for (const id of promptIds) history.addPrompt(id);
  return { repetitionPenalty, frequencyPenalty, presencePenalty, history, bias, forbidden, mask };
}
