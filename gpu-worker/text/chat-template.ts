/** Chat messages → the model's prompt text, by the Jinja template of its folder. Knows no tokens. */
import { Template } from '@huggingface/jinja';
import * as v from 'valibot';
import { MillraceError } from '../../shared/errors.ts';
import type { ChatMessage } from '../../shared/protocol.ts';
import { checkJson } from '../model/checked-json.ts';
import { ModelFolderError, readJson, readModelText } from '../model/folder.ts';

const CONFIG = 'tokenizer_config.json';
const TEMPLATE = 'chat_template.jinja';

const tokenText = v.optional(v.nullable(v.union([v.string(), v.object({ content: v.string() })])));
const configSchema = v.looseObject({
  /** One template, or several by name. */
  chat_template: v.nullish(v.union([v.string(), v.array(v.object({ name: v.string(), template: v.string() }))])),
  bos_token: tokenText,
  eos_token: tokenText,
  unk_token: tokenText,
  pad_token: tokenText,
});
type TokenizerConfig = v.InferOutput<typeof configSchema>;

/** Beside the messages, e.g. `enable_thinking`. */
export type TemplateValues = Readonly<Record<string, boolean | number | string>>;

export class ChatTemplate {
  /** The template speaks of <think>: its model thinks aloud. */
  readonly thinks: boolean;
  readonly #template: Template | null;
  readonly #tokens: Readonly<Record<string, string>>;

  /** `chat_template.jinja` wins over tokenizer_config.json; a folder with neither serves no chats. */
  constructor(folder: string) {
    const config = checkJson(CONFIG, configSchema, readJson(folder, CONFIG, false) ?? {});
    const own = readModelText(folder, TEMPLATE);
    const source = own ?? defaultTemplate(config);
    this.#template = source === null ? null : parse(source, own === undefined ? `${CONFIG}: chat_template` : TEMPLATE);
    this.thinks = source?.includes('</think>') ?? false;
    const { bos_token, eos_token, unk_token, pad_token } = config;
    this.#tokens = {
      bos_token: textOf(bos_token),
      eos_token: textOf(eos_token),
      unk_token: textOf(unk_token),
      pad_token: textOf(pad_token),
    };
  }

  render(messages: readonly ChatMessage[], values: TemplateValues = {}): string {
    if (this.#template === null) {
      const message = 'This model has no chat template; use /v1/completions.';
      throw new MillraceError('invalid_value', message, { param: 'messages' });
    }
    try {
      return this.#template.render({ ...values, messages, add_generation_prompt: true, ...this.#tokens });
    } catch (cause) {
      const message = 'The model’s chat template refuses these messages: check the order of their roles.';
      throw new MillraceError('invalid_value', message, { param: 'messages', cause });
    }
  }
}

/** `place`: where the template stands. */
function parse(source: string, place: string): Template {
  try {
    return new Template(source);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new ModelFolderError(`${place} is not a Jinja template (${reason}): correct it, or download it again`, {
      cause,
    });
  }
}

function defaultTemplate({ chat_template: given }: TokenizerConfig): string | null {
  if (typeof given === 'string') return given;
  return given?.find(({ name }) => name === 'default')?.template ?? null;
}

function textOf(token: v.InferOutput<typeof tokenText>): string {
  return typeof token === 'string' ? token : (token?.content ?? '');
}
