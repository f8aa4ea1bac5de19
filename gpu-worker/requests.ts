/** A submit message → an engine request, or a refusal: model, deadline, admission, tokens. Knows no NATS. */
import { randomInt } from 'node:crypto';
import { MillraceError } from '../shared/errors.ts';
import type { Submit } from '../shared/protocol.ts';
import { checkCapacity, checkTokens, type AdmissionLimits, type AdmissionLoad } from './admission.ts';
import type { EngineRequest } from './engine/messages.ts';
import type { PromptEncoder } from './text/prompt.ts';

export interface RequestRules {
  readonly names: readonly string[];
  readonly limits: AdmissionLimits;
  readonly encoder: Pick<PromptEncoder, 'encode'>;
}

/** The engine's id of one attempt. */
export function engineId({ id, attempt }: Pick<Submit, 'id' | 'attempt'>): string {
  return `${id}.${attempt}`;
}

/** Throws a MillraceError; nothing is reserved here, the caller adds the request at once. */
export function toEngineRequest(
  submit: Submit,
  rules: RequestRules,
  now: AdmissionLoad & { nowMs: number },
): EngineRequest {
  if (!rules.names.includes(submit.model)) {
    throw new MillraceError('model_not_found', 'The worker does not serve this model.', { param: 'model' });
  }
  if (submit.deadlineMs <= now.nowMs) throw new MillraceError('deadline_exceeded', 'The request is past its deadline.');
  checkCapacity(rules.limits, now);
  const promptIds = rules.encoder.encode(submit.prompt);
  const param = submit.prompt.type === 'chat' ? 'messages' : 'prompt';
  const { maxTokens: asked } = submit.params;
  const maxTokens = checkTokens(rules.limits, now, { promptTokens: promptIds.length, maxTokens: asked, param });
  const generatedIds = submit.generatedIds ?? [];
  if (generatedIds.length >= maxTokens) {
    throw new MillraceError('invalid_value', 'All output tokens have been generated.', { param: 'generatedIds' });
  }
  return {
    id: engineId(submit),
    tenant: submit.tenant,
    promptIds,
    generatedIds,
    params: { ...submit.params, maxTokens, seed: submit.params.seed ?? randomInt(2 ** 47) },
    deadlineMs: submit.deadlineMs,
    priority: submit.priority,
  };
}
