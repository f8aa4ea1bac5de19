/** Requests as callers give them → read ones: every field in its range. Knows no model. */
import * as v from 'valibot';
import { submitSchema } from '../../shared/protocol.ts';
import { fieldError, isIssue, readParams, toFieldIssue, type GenerationParams, type ReadParams } from './params.ts';
import { readPrompt, type PromptInput } from './prompts.ts';
import type { ReadRequest } from './request-maker.ts';

/** A request of `LLM.run`. */
export interface LLMRequest {
  readonly prompt: PromptInput;
  readonly params?: GenerationParams | undefined;
  readonly templateValues?: ReadRequest['templateValues'] | undefined;
}

/** Throws a MillraceError whose field begins with `prompt`, `params` or `templateValues`; `request` when it is no object. */
export function readRequest(request: LLMRequest): ReadRequest {
  // Callers without types and sources of JSON give anything.
  const given: unknown = request;
  if (typeof given !== 'object' || given === null) {
    throw fieldError({ field: '', problem: 'must be an object with `prompt`' }, 'request');
  }
  const { prompt, params = {}, templateValues = {} } = request;
  const read = readParams(params);
  if (isIssue(read)) throw fieldError(read, 'params');
  return {
    prompt: readPrompt(prompt, 'prompt'),
    ...read,
    templateValues: readTemplateValues(templateValues),
  };
}

/** Parameters of each prompt; all are checked now. */
export function paramsOf(
  params: GenerationParams | readonly GenerationParams[],
  prompts: number,
): (index: number) => ReadParams {
  const read = (value: unknown, at: string): ReadParams => {
    const result = readParams(value);
    if (isIssue(result)) throw fieldError(result, at);
    return result;
  };
  if (!Array.isArray(params)) {
    const one = read(params, 'params');
    return () => one;
  }
  if (params.length !== prompts) {
    const problem = `has ${params.length} entries for ${prompts} prompts: give one for each, or one object for all`;
    throw fieldError({ field: '', problem }, 'params');
  }
  const each = params.map((value, i) => read(value, `params[${i}]`));
  return (index) => {
    const own = each[index];
    if (own === undefined) throw new RangeError(`prompt ${index} has no parameters`);
    return own;
  };
}

export function readTemplateValues(values: unknown): ReadRequest['templateValues'] {
  const parsed = v.safeParse(submitSchema.entries.templateValues, values, { abortEarly: true });
  if (parsed.success) return parsed.output;
  throw fieldError(toFieldIssue(parsed.issues[0]), 'templateValues');
}
