/** Chat messages → the model's prompt text, by the Jinja template of its folder. Knows no tokens. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Template } from '@huggingface/jinja';
import * as v from 'valibot';
import { MillraceError } from '../../shared/errors.ts';
import type { ChatMessage } from '../../shared/protocol.ts';

const tokenText = v.optional(v.nullable(v.union([v.string(), v.object({ content: v.string() })])));
const configSchema = v.looseObject({
  chat_template: v.optional(v.string()),
  bos_token: tokenText,
  eos_token: tokenText,
});

export class ChatTemplate {
  readonly #template: Template | null;
  readonly #tokens: { readonly bos_token: string; readonly eos_token: string };

  /** `chat_template.jinja` wins over tokenizer_config.json; a folder with neither serves no chats. */
  constructor(folder: string) {
    const configFile = join(folder, 'tokenizer_config.json');
    const config = v.parse(configSchema, existsSync(configFile) ? JSON.parse(readFileSync(configFile, 'utf8')) : {});
    const templateFile = join(folder, 'chat_template.jinja');
    const source = existsSync(templateFile) ? readFileSync(templateFile, 'utf8') : config.chat_template;
    this.#template = source === undefined ? null : new Template(source);
    this.#tokens = { bos_token: textOf(config.bos_token), eos_token: textOf(config.eos_token) };
  }

  render(messages: readonly ChatMessage[]): string {
    if (this.#template === null) {
      const message = 'This model has no chat template; use /v1/completions.';
      throw new MillraceError('invalid_value', message, { param: 'messages' });
    }
    try {
      return this.#template.render({ messages, add_generation_prompt: true, ...this.#tokens });
    } catch (cause) {
      const message = 'The model’s chat template refuses these messages: check the order of their roles.';
      throw new MillraceError('invalid_value', message, { param: 'messages', cause });
    }
  }
}

function textOf(token: v.InferOutput<typeof tokenText>): string {
  return typeof token === 'string' ? token : (token?.content ?? '');
}
