/** A submit message → an engine request, or a refusal: model, deadline, admission, tokens. Knows no NATS. */
import { MillraceError } from '../shared/errors.ts';
import type { Submit } from '../shared/protocol.ts';
import { checkCapacity, checkLength, checkTokens, type AdmissionLimits, type AdmissionLoad } from './admission.ts';
import type { EngineRequest, EngineSampling } from './engine/messages.ts';
import type { GenerationDefaults } from './model/generation-config.ts';
import { marksOf, tokensUpTo } from './prefix/prefix-mark.ts';
import type { TokenBytes } from './text/detokenizer.ts';
import type { PromptEncoder } from './text/prompt.ts';

export interface RequestRules {
  readonly names: readonly string[];
  readonly limits: AdmissionLimits;
  readonly vocabSize: number;
  readonly eosIds: readonly number[];
  /** What a request that says nothing gets. */
  readonly defaults: GenerationDefaults;
  readonly encoder: Pick<PromptEncoder, 'encode' | 'fewestTokens' | 'reasoning'>;
  readonly tokenBytes: TokenBytes;
}

/** The engine's id of one attempt. */
export function engineId({ id, attempt }: Pick<Submit, 'id' | 'attempt'>): string {
  return `${id}.${attempt}`;
}

/** Throws a MillraceError; nothing is reserved here, the caller adds the request before it yields. */
export function toEngineRequest(
  submit: Submit,
  rules: RequestRules,
  now: AdmissionLoad & { readonly nowMs: number },
): EngineRequest {
  if (!rules.names.includes(submit.model)) {
    throw new MillraceError('model_not_found', 'The worker does not serve this model.', { param: 'model' });
  }
  if (submit.deadlineMs <= now.nowMs) throw new MillraceError('deadline_exceeded', 'The request is past its deadline.');
  const { n } = submit.params;
  const { pinnedUnits = 0 } = submit;
  const { tokenBytes } = rules;
  checkCapacity(rules.limits, now, n);
  const param = submit.prompt.type === 'chat' ? 'messages' : 'prompt';
  checkLength(rules.limits, { fewestTokens: rules.encoder.fewestTokens(submit.prompt), param });
  const promptIds = rules.encoder.encode(submit.prompt, submit.templateValues);
  const { maxTokens: asked } = submit.params;
  const maxTokens = checkTokens(rules.limits, now, { promptTokens: promptIds.length, maxTokens: asked, n, param });
  return {
    id: engineId(submit),
    tenant: submit.tenant,
    cacheSalt: `${submit.tenant}/${submit.cacheSalt}`,
    promptIds,
    generatedIds: checkGenerated(submit.generatedIds ?? [], { maxTokens, n, vocabSize: rules.vocabSize }),
    n,
    params: resolveSampling(submit.params, rules, maxTokens),
    speculation: submit.speculation,
    deadlineMs: submit.deadlineMs,
    priority: submit.priority,
    reasoning: submit.prompt.type === 'chat' ? rules.encoder.reasoning(promptIds) : null,
    ...(pinnedUnits === 0 ? {} : { pinnedTokens: tokensUpTo(submit.prompt, pinnedUnits, { promptIds, tokenBytes }) }),
    ...(submit.blocks === undefined ? {} : { marks: marksOf(submit.prompt, submit.blocks, { promptIds, tokenBytes }) }),
  };
}

/** Fills in the model's defaults. Throws when a token id is outside the vocabulary or minTokens above the limit. */
export function resolveSampling(
  asked: Submit['params'],
  { defaults, eosIds, vocabSize }: Pick<RequestRules, 'defaults' | 'eosIds' | 'vocabSize'>,
  maxTokens: number,
): EngineSampling {
  const { ignoreEos, n: _n, ...params } = asked;
  const beyond = (param: string, id: number): MillraceError =>
    new MillraceError('invalid_value', `\`${param}\` has token id ${id}, the model's end at ${vocabSize - 1}.`, {
      param,
    });
  for (const [id] of params.logitBias) if (id >= vocabSize) throw beyond('logit_bias', id);
  for (const id of params.stopTokenIds) if (id >= vocabSize) throw beyond('stop_token_ids', id);
  if (params.minTokens > maxTokens) {
    const message = `\`min_tokens\` is ${params.minTokens}, above the limit of ${maxTokens} output tokens.`;
    throw new MillraceError('invalid_value', message, { param: 'min_tokens' });
  }
  return {
    ...params,
    maxTokens,
    temperature: params.temperature ?? defaults.temperature,
    topP: params.topP ?? defaults.topP,
    topK: params.topK ?? defaults.topK,
    minP: params.minP ?? defaults.minP,
    repetitionPenalty: params.repetitionPenalty ?? defaults.repetitionPenalty,
    eosIds: ignoreEos ? [] : eosIds,
  };
}

interface GeneratedBounds {
  readonly maxTokens: number;
  readonly n: number;
  readonly vocabSize: number;
}

function checkGenerated(ids: readonly number[], { maxTokens, n, vocabSize }: GeneratedBounds): readonly number[] {
  const invalid = (message: string) => new MillraceError('invalid_value', message, { param: 'generatedIds' });
  if (ids.length > 0 && n > 1) throw invalid('A request with several choices cannot be continued.');
  if (ids.length >= maxTokens) throw invalid('All output tokens have been generated already.');
  const bad = ids.find((id) => id >= vocabSize);
  if (bad !== undefined) throw invalid(`Token id ${bad} is outside the vocabulary of ${vocabSize}.`);
  return ids;
}
