// Owns the shape of a training example and the rule that holds questions out. Knows no content.
import { hashText } from './random.ts';

export type Role = 'system' | 'user' | 'assistant';
export interface Message {
  readonly role: Role;
  readonly content: string;
}
/** A chat, or a plain text that ends with the end-of-text token. */
export type Example =
  | { readonly kind: string; readonly messages: readonly Message[] }
  | { readonly kind: string; readonly text: string };

export const user = (content: string): Message => ({ role: 'user', content });
export const assistant = (content: string): Message => ({ role: 'assistant', content });
export const system = (content: string): Message => ({ role: 'system', content });

const HELD_OUT_ONE_IN = 23;
const HELD_OUT_MIN_WORDS = 6;
const UNSEEN_ONE_IN = 10;

/** Case, punctuation and spacing do not make a question new. */
export function normalizeQuestion(text: string): string {
  return text
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, ' ')
    .trim();
}

/** Short questions are never held out: they are what everybody types first. */
export function isHeldOut(question: string): boolean {
  const normal = normalizeQuestion(question);
  return normal.split(' ').length >= HELD_OUT_MIN_WORDS && hashText(normal) % HELD_OUT_ONE_IN === 0;
}

/** An example belongs to the held-out part if any of its questions does. */
export function exampleIsHeldOut(example: Example): boolean {
  if ('text' in example) return isHeldOut(example.text.slice(0, 80));
  return example.messages.some((message) => message.role === 'user' && isHeldOut(message.content));
}

/** Written questions about a topic that stay out of the training data altogether. */
export const isUnseenWording = (question: string): boolean => hashText(normalizeQuestion(question)) % UNSEEN_ONE_IN === 3;
