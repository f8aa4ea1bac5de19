/** A submit message → an engine request, or a refusal: model, deadline, admission, tokens. Knows no NATS. */
import { randomInt } from 'node:crypto';
import { MillraceError } from '../shared/errors.ts';
import type { Submit } from '../shared/protocol.ts';
import { checkCapacity, checkLength, checkTokens, type AdmissionLimits, type AdmissionLoad } from './admission.ts';
import type { EngineRequest } from './engine/messages.ts';
import type { PromptEncoder } from './text/prompt.ts';

export interface RequestRules {
  readonly names: readonly string[];
  readonly limits: AdmissionLimits;
  readonly vocabSize: number;
  readonly encoder: Pick<PromptEncoder, 'encode' | 'fewestTokens'>;
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
  checkCapacity(rules.limits, now);
  const param = submit.prompt.type === 'chat' ? 'messages' : 'prompt';
  checkLength(rules.limits, { fewestTokens: rules.encoder.fewestTokens(submit.prompt), param });
  const promptIds = rules.encoder.encode(submit.prompt);
  const { maxTokens: asked } = submit.params;
  const maxTokens = checkTokens(rules.limits, now, { promptTokens: promptIds.length, maxTokens: asked, param });
  return {
    id: engineId(submit),
    tenant: submit.tenant,
    promptIds,
    generatedIds: checkGenerated(submit.generatedIds ?? [], { maxTokens, vocabSize: rules.vocabSize }),
    params: { ...submit.params, maxTokens, seed: submit.params.seed ?? randomInt(2 ** 47) },
    deadlineMs: submit.deadlineMs,
    priority: submit.priority,
  };
}

function checkGenerated(
  ids: readonly number[],
  { maxTokens, vocabSize }: { readonly maxTokens: number; readonly vocabSize: number },
): readonly number[] {
  const invalid = (message: string) => new MillraceError('invalid_value', message, { param: 'generatedIds' });
  if (ids.length >= maxTokens) throw invalid('All output tokens have been generated already.');
  const bad = ids.find((id) => id >= vocabSize);
  if (bad !== undefined) throw invalid(`Token id ${bad} is outside the vocabulary of ${vocabSize}.`);
  return ids;
}
