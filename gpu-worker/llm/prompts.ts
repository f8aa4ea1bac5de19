/** What callers give as prompts → prompts of the protocol. Knows no tokens. */
import * as v from 'valibot';
import { MillraceError } from '../../shared/errors.ts';
import { chatMessageSchema, promptSchema, type ChatMessage, type Prompt } from '../../shared/protocol.ts';
import { fieldError, toFieldIssue } from './params.ts';

/** A text as it is (no chat template), token ids, or the messages of a chat. */
export type PromptInput = string | readonly number[] | readonly ChatMessage[];

/** One prompt or several: a list of numbers or of messages is one. */
export function listOfPrompts(prompts: PromptInput | readonly PromptInput[]): readonly PromptInput[] {
  if (typeof prompts === 'string') return [prompts];
  if (!Array.isArray(prompts)) {
    const message = '`prompts` must be a prompt or a list of them: text, token ids or messages.';
    throw new MillraceError('invalid_value', message, { param: 'prompts' });
  }
  const first: unknown = prompts[0];
  const single = typeof first === 'number' || (typeof first === 'object' && first !== null && !Array.isArray(first));
  return single ? [prompts] : prompts;
}

/** Throws a MillraceError that begins with `at`, as in `prompts[3]`. */
export function readPrompt(input: unknown, at: string): Prompt {
  if (typeof input === 'string') return filled({ type: 'text', text: input }, input.length, at);
  if (!Array.isArray(input)) {
    throw fieldError({ field: '', problem: 'must be a text, a list of token ids or a list of messages' }, at);
  }
  const chat = typeof input[0] === 'object';
  if (chat) checkFields(input, at);
  const parsed = v.safeParse(promptSchema, chat ? { type: 'chat', messages: input } : { type: 'tokens', ids: input }, {
    abortEarly: true,
  });
  if (parsed.success) return parsed.output;
  const { field, problem } = toFieldIssue(parsed.issues[0]);
  throw fieldError({ field: field.replace(/^(messages|ids)/, ''), problem }, at);
}

function filled(prompt: Prompt, length: number, at: string): Prompt {
  if (length > 0) return prompt;
  throw fieldError({ field: '', problem: 'must not be empty' }, at);
}

/** Nothing in a message is dropped in silence. */
function checkFields(messages: readonly unknown[], at: string): void {
  for (const [i, message] of messages.entries()) {
    if (typeof message !== 'object' || message === null) continue;
    const other = Object.keys(message).find((name) => !Object.hasOwn(chatMessageSchema.entries, name));
    if (other !== undefined) throw fieldError({ field: `[${i}].${other}`, problem: 'is not supported; remove it' }, at);
  }
}
