/**
 * Hashes of a prompt's text, block by block, each over everything before it too: a common prefix of two prompts shows
 * as common blocks. Hints for routing only; knows no tokens and no workers.
 */
import type { ChatMessage, Prompt } from './protocol.ts';

/** More text than these cover is not looked up: about 1.2 MB of one message. */
export const MAX_BLOCKS = 256;
/** Size of the first blocks: UTF-16 units of text, token ids. */
const TEXT_BLOCK = 1024;
const TOKEN_BLOCK = 128;
/** Blocks grow to this part of what comes before them, so that a long prompt needs few. A power of two. */
const GROWTH_SHIFT = 6;
/** A message's end cuts a block that is this part of a whole one at least. A power of two. */
const LEAST_SHIFT = 2;
/** Stands before a message's role: no text has this pair of noncharacters. */
const MESSAGE_MARK = 0xffffffff;

export interface PromptBlock {
  /** 16 hex digits. */
  readonly hash: string;
  /** Message that the block ends in; 0 for prompts without messages. */
  readonly message: number;
  /** Where it ends in that message's content: UTF-16 units, or ids of a token prompt. */
  readonly end: number;
  /** Units up to there, those of earlier messages included. */
  readonly size: number;
}

/** Units of the whole prompt: UTF-16 units of text, or ids. */
export function promptSize(prompt: Prompt): number {
  if (prompt.type === 'tokens') return prompt.ids.length;
  if (prompt.type === 'text') return prompt.text.length;
  return prompt.messages.reduce((sum, { content }) => sum + content.length, 0);
}

/**
 * Blocks in order. Cuts depend on what comes before them alone, so a conversation that grows keeps all its blocks; a
 * text that grows keeps all but the last. Prompts of different salts have no block in common.
 */
export function blocksOf(prompt: Prompt, salt: string): readonly PromptBlock[] {
  const cutter = new Cutter(salt, prompt.type);
  if (prompt.type === 'tokens') cutter.tokens(prompt.ids);
  else if (prompt.type === 'text') cutter.text(prompt.text, 0);
  else {
    for (const [i, message] of prompt.messages.entries()) {
      if (cutter.full) break;
      cutter.message(message, i);
    }
  }
  return cutter.blocks;
}

class Cutter {
  readonly blocks: PromptBlock[] = [];
  /** Two independent 32-bit lanes: the hash of everything so far. */
  #low = 0x3c6ef372;
  #high = 0x510e527f;
  /** Units so far, and how many of them were so at the last cut. */
  #size = 0;
  #cutAt = 0;

  constructor(salt: string, kind: Prompt['type']) {
    for (const part of [salt, kind]) {
      this.#mix(part.length);
      this.#mixText(part, 0, part.length);
    }
  }

  get full(): boolean {
    return this.blocks.length >= MAX_BLOCKS;
  }

  message({ role, name = '', content }: ChatMessage, index: number): void {
    this.#mix(MESSAGE_MARK);
    for (const part of [role, name]) {
      this.#mix(part.length);
      this.#mixText(part, 0, part.length);
    }
    this.text(content, index);
  }

  text(text: string, message: number): void {
    for (let at = 0; at < text.length && !this.full;) {
      const whole = Math.max(TEXT_BLOCK, this.#cutAt >>> GROWTH_SHIFT);
      const end = Math.min(text.length, at + whole - (this.#size - this.#cutAt));
      // Half a character is none.
      const to = end < text.length && isHighSurrogate(text.charCodeAt(end - 1)) ? end + 1 : end;
      this.#mixText(text, at, to);
      this.#size += to - at;
      at = to;
      if (this.#size - this.#cutAt >= (at < text.length ? whole : whole >>> LEAST_SHIFT)) this.#cut(message, at);
    }
  }

  tokens(ids: readonly number[]): void {
    for (let at = 0; at < ids.length && !this.full;) {
      const to = Math.min(ids.length, at + Math.max(TOKEN_BLOCK, at >>> GROWTH_SHIFT));
      for (let i = at; i < to; i++) this.#mix(ids[i] ?? 0);
      this.#size = to;
      at = to;
      if (this.#size - this.#cutAt >= TOKEN_BLOCK >>> LEAST_SHIFT) this.#cut(0, at);
    }
  }

  #cut(message: number, end: number): void {
    const hash = hex(this.#low ^ (this.#high >>> 16)) + hex(this.#high ^ (this.#low >>> 16));
    this.blocks.push({ hash, message, end, size: this.#size });
    this.#cutAt = this.#size;
  }

  /** Two units at a time: strings are hashed faster than they can be turned into bytes. */
  #mixText(text: string, from: number, to: number): void {
    let [low, high] = [this.#low, this.#high];
    for (let i = from; i < to; i += 2) {
      const word = text.charCodeAt(i) | (i + 1 < to ? text.charCodeAt(i + 1) << 16 : 0);
      low = Math.imul(low ^ word, 0x9e3779b1);
      low ^= low >>> 15;
      high = Math.imul(high ^ word, 0x85ebca6b);
      high ^= high >>> 13;
    }
    this.#low = low;
    this.#high = high;
  }

  #mix(word: number): void {
    const low = Math.imul(this.#low ^ word, 0x9e3779b1);
    const high = Math.imul(this.#high ^ word, 0x85ebca6b);
    this.#low = low ^ (low >>> 15);
    this.#high = high ^ (high >>> 13);
  }
}

function hex(word: number): string {
  return (word >>> 0).toString(16).padStart(8, '0');
}

function isHighSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit < 0xdc00;
}
