/** The input of `millrace generate`, line by line → requests, or why a line is none. Holds one line at a time. */
import { statSync } from 'node:fs';
import { MillraceError } from '../../shared/errors.ts';
import type { GenerationParams } from '../llm/params.ts';
import { readRequest, type LLMRequest } from '../llm/read-request.ts';
import { camelCase, respell, snakeCase } from '../spelling.ts';
import type { GenerateConfig } from './generate-config.ts';
import { linesOf, type Line } from './lines.ts';
import { ConfigError } from './settings.ts';

/** What identifies a request in the output, as the input wrote it. */
export interface ItemHead {
  /** Position among all requests, repeats among them. */
  readonly index: number;
  /** Of the input, from 1. */
  readonly line: number;
  /** `id` or `custom_id`, and the prompt or messages. */
  readonly echo: Readonly<Record<string, unknown>>;
}

export type InputItem =
  | ({ readonly type: 'request'; readonly request: LLMRequest } & ItemHead)
  | ({ readonly type: 'bad'; readonly error: MillraceError } & ItemHead);

type InputRules = Pick<GenerateConfig, 'input' | 'chat' | 'repeat' | 'params'>;

/** Reads the input anew at each call. */
export async function* readItems(rules: InputRules): AsyncGenerator<InputItem, void, undefined> {
  let index = 0;
  for await (const { line, text } of textsOf(rules.input)) {
    const item = readLine(text, rules);
    for (let i = 0; i < rules.repeat; i++) yield { ...item, line, index: index++ };
  }
}

async function* textsOf(input: GenerateConfig['input']): AsyncGenerator<Line, void, undefined> {
  if ('prompts' in input) {
    for (const [i, prompt] of input.prompts.entries()) yield { line: i + 1, text: JSON.stringify(prompt) };
    return;
  }
  for await (const { line, text } of linesOf(input.file)) {
    const json = line === 1 ? text.replace(/^\uFEFF/, '') : text;
    if (json.trim() !== '') yield { line, text: json };
  }
}

/** The input is read more than once, so it must be a file. */
export function checkInput(input: GenerateConfig['input']): void {
  if ('prompts' in input) return;
  const stats = statSync(input.file, { throwIfNoEntry: false });
  if (stats?.isFile() === true) return;
  throw new ConfigError(
    `--input is "${input.file}": ${stats === undefined ? 'there is no such file' : 'it must be a file'}`,
  );
}

type ReadLine =
  | Pick<Extract<InputItem, { type: 'request' }>, 'type' | 'request' | 'echo'>
  | Pick<Extract<InputItem, { type: 'bad' }>, 'type' | 'error' | 'echo'>;

function readLine(text: string, rules: InputRules): ReadLine {
  let echo: ItemHead['echo'] = {};
  try {
    const fields = fieldsOf(text);
    echo = echoOf(fields);
    const request = toRequest(fields, rules);
    checkRequest(request, echo);
    return { type: 'request', request, echo };
  } catch (error) {
    if (!(error instanceof MillraceError)) throw error;
    return { type: 'bad', error, echo };
  }
}

function checkRequest(request: LLMRequest, echo: ItemHead['echo']): void {
  try {
    readRequest(request);
  } catch (error) {
    throw error instanceof MillraceError ? asJsonSpells(error, echo) : error;
  }
}

/** A field that is null counts as left out. */
function fieldsOf(text: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new MillraceError('invalid_json', 'The line is not valid JSON.', { cause });
  }
  if (typeof value === 'string') return { prompt: value };
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return Object.fromEntries(Object.entries(value).filter(([, field]) => field !== null));
  }
  throw new MillraceError('invalid_value', 'The line must be a JSON string or an object with `prompt` or `messages`.');
}

function echoOf({ id, custom_id, prompt, messages }: Readonly<Record<string, unknown>>): ItemHead['echo'] {
  // JSON leaves out what is undefined.
  return { id, custom_id, prompt, messages };
}

function toRequest(fields: Readonly<Record<string, unknown>>, { chat, params }: InputRules): LLMRequest {
  const { id, custom_id, prompt, messages, chat_template_kwargs: values, ...rest } = fields;
  for (const [param, value] of Object.entries({ id, custom_id })) {
    if (value === undefined || typeof value === 'string' || typeof value === 'number') continue;
    throw new MillraceError('invalid_value', `\`${param}\` must be a string or a number.`, { param });
  }
  if ((prompt === undefined) === (messages === undefined)) {
    throw new MillraceError('invalid_value', 'The line must have one of `prompt` and `messages`.', { param: 'prompt' });
  }
  const own = Object.entries(rest).map(([name, field]) => [camelCase(name), field] as const);
  return {
    // Checked by readRequest, like all the rest.
    prompt: promptOf({ prompt, messages }, chat) as LLMRequest['prompt'],
    params: {
      ...params,
      ...(Object.fromEntries(own) as GenerationParams),
    },
    templateValues: (values ?? {}) as LLMRequest['templateValues'],
  };
}

function promptOf(
  { prompt, messages }: { readonly prompt: unknown; readonly messages: unknown },
  chat: boolean,
): unknown {
  if (messages !== undefined) {
    if (Array.isArray(messages) && (messages.length === 0 || typeof messages[0] === 'object')) return messages;
    throw new MillraceError('invalid_value', '`messages` must be a list of messages.', { param: 'messages' });
  }
  return chat && typeof prompt === 'string' ? [{ role: 'user', content: prompt }] : prompt;
}

/** The library's `params.maxTokens` is `max_tokens` in a line, its prompt the line's `prompt` or `messages`. */
export function asJsonSpells({ code, message, param, cause }: MillraceError, echo: ItemHead['echo']): MillraceError {
  const field = echo['messages'] === undefined ? 'prompt' : 'messages';
  const spell = (name: string) =>
    snakeCase(name.replace(/^(`?)params\./, '$1').replace(/^(`?)prompt\b/, `$1${field}`)).replace(
      'template_values',
      'chat_template_kwargs',
    );
  const respelled = param === undefined ? undefined : spell(param);
  return new MillraceError(code, respell(message, spell), { param: respelled, cause });
}
