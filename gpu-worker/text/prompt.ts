/**
 * A request's prompt → token ids. What users write in messages never becomes a control token; a raw text prompt is
 * the caller's own template and may hold them.
 */
import { randomUUID } from 'node:crypto';
import { MillraceError } from '../../shared/errors.ts';
import type { ChatMessage, Prompt } from '../../shared/protocol.ts';
import { ChatTemplate, type TemplateValues } from './chat-template.ts';
import { Tokenizer } from './tokenizer.ts';

/** Line ends that a template may put after the mark that opens reasoning. */
const LINE_END_TOKENS = 2;

export class PromptEncoder {
  readonly #tokenizer: Tokenizer;
  readonly #template: ChatTemplate;
  readonly #vocabSize: number;
  readonly #control: RegExp | null;
  /** Tokens of the mark that opens reasoning. */
  readonly #openThink: readonly number[];

  constructor(folder: string, vocabSize: number) {
    this.#tokenizer = new Tokenizer(folder);
    this.#template = new ChatTemplate(folder);
    this.#vocabSize = vocabSize;
    const { controlTokens } = this.#tokenizer;
    this.#openThink = this.#tokenizer.encode('<think>', { begin: false });
    this.#control = controlTokens.length === 0 ? null : new RegExp(controlTokens.map(escape).join('|'), 'g');
  }

  /** Lower bound of the prompt's tokens, at the cost of a look at its length. */
  fewestTokens(prompt: Prompt): number {
    if (prompt.type === 'tokens') return prompt.ids.length;
    if (prompt.type === 'text') return this.#fewestOf(prompt.text);
    const ofContents = prompt.messages.reduce((sum, { content }) => sum + this.#fewestOf(content), 0);
    // Templates give every message a token at least.
    return Math.max(ofContents, prompt.messages.length);
  }

  #fewestOf(text: string): number {
    return Math.floor(Buffer.byteLength(text) / this.#tokenizer.longestTokenBytes);
  }

  /** How the output of this chat prompt begins for a model that thinks aloud; null for one that does not. */
  reasoning(promptIds: Int32Array): 'open' | 'closed' | null {
    if (!this.#template.thinks) return null;
    // Only the template can end a prompt so: what users write is followed by the marks of their turn.
    const mark = this.#openThink;
    for (let after = 0; after <= LINE_END_TOKENS; after++) {
      const at = promptIds.length - after - mark.length;
      if (at >= 0 && mark.every((id, i) => promptIds[at + i] === id)) return 'open';
    }
    return 'closed';
  }

  /** Throws a MillraceError that names `messages` or `prompt`. `values` reach the chat template. */
  encode(prompt: Prompt, values: TemplateValues = {}): Int32Array {
    const ids = this.#idsOf(prompt, values);
    const param = prompt.type === 'chat' ? 'messages' : 'prompt';
    if (ids.length === 0)
      throw new MillraceError('invalid_value', `\`${param}\` has no tokens: it must not be empty.`, { param });
    const bad = ids.findIndex((id) => !(id >= 0 && id < this.#vocabSize));
    if (bad < 0) return Int32Array.from(ids);
    // Of a tokenizer that knows more tokens than the model; in a step it would fail all its sequences.
    const place = prompt.type === 'tokens' ? `${param}[${bad}]` : param;
    const what = prompt.type === 'tokens' ? 'is' : `holds ${this.#tokenizer.tokenOf(ids[bad] ?? 0)}, token`;
    const message = `\`${place}\` ${what} ${ids[bad]}, but the model has token ids 0 to ${this.#vocabSize - 1}.`;
    throw new MillraceError('invalid_value', message, { param: place });
  }

  #idsOf(prompt: Prompt, values: TemplateValues): readonly number[] {
    switch (prompt.type) {
      case 'chat':
        return this.#encodeChat(prompt.messages, values);
      case 'text':
        return this.#tokenizer.encode(prompt.text, { begin: true });
      case 'tokens':
        return prompt.ids;
    }
  }

  /**
   * Control-token text inside messages is taken out before the template renders, behind a mark that nobody can guess,
   * and put back as plain text; everything else is tokenized in one piece, so its merges are those of the whole.
   */
  #encodeChat(messages: readonly ChatMessage[], values: TemplateValues): number[] {
    const taken: string[] = [];
    const mark = randomUUID();
    const hide = (text: string) =>
      this.#control === null ? text : text.replace(this.#control, (token) => `${mark}${taken.push(token) - 1}#`);
    const safe = messages.map(({ role, content, name }) => {
      return { role, content: hide(content), ...(name === undefined ? {} : { name: hide(name) }) };
    });
    const safeValues = Object.fromEntries(
      Object.entries(values).map(([name, value]) => [name, typeof value === 'string' ? hide(value) : value]),
    );
    const rendered = this.#template.render(safe, safeValues);
    if (taken.length === 0) return this.#tokenizer.encode(rendered, { begin: false });
    return rendered
      .split(new RegExp(`${mark}(\\d+)#`))
      .flatMap((part, i) =>
        i % 2 === 0
          ? this.#tokenizer.encode(part, { begin: false })
          : this.#tokenizer.encodePlain(taken[Number(part)] ?? ''),
      );
  }
}

function escape(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
}
