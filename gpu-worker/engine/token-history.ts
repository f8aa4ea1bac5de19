/** A request's sampling parameters → the rules its rows carry, with the token counts they look at. Knows no logits. */
import type { LogitsMask, LogitsRules } from '../sample/logits-rules.ts';
import type { EngineRequest } from './messages.ts';

export interface MutableHistory {
  readonly outputCounts: Map<number, number>;
  readonly promptIds: Set<number>;
}

export function countTokens(ids: Iterable<number>): Map<number, number> {
  const counts = new Map<number, number>();
  for (const id of ids) counts.set(id, (counts.get(id) ?? 0) + 1);
  return counts;
}

/** Null when the request changes no logits. Fills the history's prompt ids only for who looks at them. */
export function rulesOf(
  { params, promptIds }: EngineRequest,
  history: MutableHistory,
  mask: LogitsMask | null,
): LogitsRules | null {
  const { repetitionPenalty, frequencyPenalty, presencePenalty, logitBias: bias, minTokens } = params;
  const penalized = repetitionPenalty !== 1 || frequencyPenalty !== 0 || presencePenalty !== 0;
  const { stopTokenIds, eosIds } = params;
  const forbidden = minTokens === 0 ? null : { ids: [...eosIds, ...stopTokenIds], untilIndex: minTokens };
  if (!penalized && bias.length === 0 && forbidden === null && mask === null) return null;
  if (repetitionPenalty !== 1) for (const id of promptIds) history.promptIds.add(id);
  return { repetitionPenalty, frequencyPenalty, presencePenalty, history, bias, forbidden, mask };
}
