/** A request's prompt → fewer bytes of it, as the request or its key asks, and what that saved. Pure; knows no HTTP. */
import * as v from 'valibot';
import { MillraceError } from '../shared/errors.ts';
import type { ChatMessage, Prompt } from '../shared/protocol.ts';
import { compressMessages, MIN_RATE, type CompressionOptions } from './compress/compress.ts';
import { optional, within } from './fields.ts';

/** What applies where neither a request nor its key says anything. */
export const LOSSLESS: CompressionOptions = { mode: 'lossless', rate: 1 };
/** Of the lossy mode. */
export const DEFAULT_RATE = 0.7;
/** Tokens of text have two bytes at least, or the prompt's tokens are mostly those of the template. */
const MOST_TOKENS_PER_BYTE = 0.5;
/** What chat templates mostly put around a message, and before the answer. */
const [MESSAGE_TOKENS, ANSWER_TOKENS] = [5, 3];

export const compressionFields = {
  compression: optional(
    v.strictObject(
      {
        mode: v.picklist(['off', 'lossless', 'lossy'], 'must be off, lossless or lossy'),
        rate: optional(within(MIN_RATE, 1, 'a number')),
      },
      'must be an object of `mode` and, in lossy mode, `rate`',
    ),
  ),
};

/** Null: the key's default. Throws where a rate has no meaning. */
export function compressionOf({
  compression,
}: v.InferOutput<v.ObjectSchema<typeof compressionFields, undefined>>): CompressionOptions | null {
  if (compression == null) return null;
  const { mode, rate } = compression;
  if (rate != null && mode !== 'lossy') {
    const message = `\`compression.rate\` applies to the mode lossy; the mode is ${mode}.`;
    throw new MillraceError('invalid_value', message, { param: 'compression.rate' });
  }
  return { mode, rate: mode === 'lossy' ? (rate ?? DEFAULT_RATE) : 1 };
}

/** Token ids stay as they are; so does what a text ends in, since its completion goes on from there. */
export function compressPrompt(prompt: Prompt, options: CompressionOptions): Prompt {
  if (options.mode === 'off' || prompt.type === 'tokens') return prompt;
  if (prompt.type === 'text') return { type: 'text', text: compressText(prompt.text, options) };
  return { type: 'chat', messages: [...compressMessages(prompt.messages, options).messages] };
}

/** As if a user had sent it. Its last line and the blanks after that stay. */
function compressText(text: string, options: CompressionOptions): string {
  const message: ChatMessage = { role: 'user', content: text };
  const content = compressMessages([message], options).messages[0]?.content ?? text;
  const kept = content.trimEnd();
  const end = text.trimEnd();
  const lastLine = end.slice(end.lastIndexOf('\n') + 1);
  return kept.endsWith(lastLine) ? kept + text.slice(end.length) : text;
}

/** What a client's prompt had more than what the worker got. */
export interface Savings {
  /** UTF-8. */
  readonly bytes: number;
  /** By the tokens per byte of the texts that were sent: what was not sent nobody tokenized. */
  readonly tokensEstimate: number;
}

export const NOTHING_SAVED: Savings = { bytes: 0, tokensEstimate: 0 };

/** `sent`: what the worker got, and counted as `promptTokens`. */
export function savingsOf(bytes: number, sent: Prompt, promptTokens: number): Savings {
  if (bytes === 0) return NOTHING_SAVED;
  const ofTemplate = sent.type === 'chat' ? MESSAGE_TOKENS * sent.messages.length + ANSWER_TOKENS : 0;
  const textTokens = Math.max(0, promptTokens - ofTemplate);
  const tokensPerByte = Math.min(MOST_TOKENS_PER_BYTE, textTokens / Math.max(1, promptBytes(sent)));
  return { bytes, tokensEstimate: Math.round(bytes * tokensPerByte) };
}

export function savingsHeaders({ bytes, tokensEstimate }: Savings): Record<string, string> {
  return { 'x-millrace-saved-bytes': String(bytes), 'x-millrace-saved-tokens-estimate': String(tokensEstimate) };
}

/** Of the texts in it, in UTF-8; 0 for token ids. */
export function promptBytes(prompt: Prompt): number {
  if (prompt.type === 'tokens') return 0;
  if (prompt.type === 'text') return utf8Bytes(prompt.text);
  return prompt.messages.reduce((sum, { content }) => sum + utf8Bytes(content), 0);
}

const encoder = new TextEncoder();

function utf8Bytes(text: string): number {
  return encoder.encode(text).length;
}
