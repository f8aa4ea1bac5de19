/** What a body says to the chat template beside its messages: vLLM's and OpenAI's fields → template values. Pure. */
import * as v from 'valibot';
import type { Submit } from '../shared/protocol.ts';
import { refuseTakenNames } from '../shared/template-values.ts';
import { flag, optional, text } from './fields.ts';

const MAX_VALUES = 16;
const NAME = /^[A-Za-z_]\w{0,63}$/;
const EFFORTS = ['none', 'minimal', 'low', 'medium', 'high', 'xhigh'] as const;

const VALUE_FORMS = 'must be true, false, a number or a string of at most 1024 characters';
const value = v.union(
  [v.boolean(), v.pipe(v.number(), v.finite(VALUE_FORMS)), v.pipe(text, v.maxLength(1024, VALUE_FORMS))],
  VALUE_FORMS,
);

export const templateFields = {
  chat_template_kwargs: optional(
    v.pipe(
      v.unknown(),
      refuseTakenNames,
      v.custom<object>((given) => typeof given === 'object' && !Array.isArray(given), 'must be an object'),
      v.record(v.string(), value, 'must be an object'),
      v.check((values) => Object.keys(values).length <= MAX_VALUES, `must have at most ${MAX_VALUES} values`),
      v.check(
        (values) => Object.keys(values).every((name) => NAME.test(name)),
        'must have names of letters, digits and _, at most 64',
      ),
    ),
  ),
  /** Short for the template value of the same name. */
  enable_thinking: optional(flag),
  reasoning_effort: optional(v.picklist(EFFORTS, `must be one of ${EFFORTS.join(', ')}`)),
};

/** The more exact field wins: `chat_template_kwargs`, then `enable_thinking`, then `reasoning_effort`. */
export function templateValues(
  input: v.InferOutput<v.ObjectSchema<typeof templateFields, undefined>>,
): Submit['templateValues'] {
  const { reasoning_effort: effort, enable_thinking: thinking, chat_template_kwargs: values } = input;
  return {
    ...effortValue(effort ?? null),
    ...(thinking == null ? {} : { enable_thinking: thinking }),
    ...values,
  };
}

function effortValue(effort: (typeof EFFORTS)[number] | null): Submit['templateValues'] {
  if (effort === null) return {};
  return effort === 'none' ? { enable_thinking: false } : { reasoning_effort: effort };
}
