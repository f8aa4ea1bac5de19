/** Ends of a request's text blocks → lengths of its tokenized prompt. Knows no KV, no hashing and no bus. */
import type { BlockEnd, Prompt } from '../../shared/protocol.ts';
import type { TokenBytes } from '../text/detokenizer.ts';

/** A text block's hash stands for the first `tokens` tokens of the prompt it came with. */
export interface PrefixMark {
  readonly hash: string;
  readonly tokens: number;
}

/** Marks that are in the KV cache now, and hashes that are not in it any more. */
export interface PrefixChanges {
  readonly stored: readonly PrefixMark[];
  readonly evicted: readonly string[];
}

/** Fewer tokens are not worth a route. */
const LEAST_TOKENS = 32;

interface Tokenized {
  readonly promptIds: Int32Array;
  readonly tokenBytes: TokenBytes;
}

/**
 * A message's text is searched in the bytes of the tokens, after the one before it: that needs nothing of templates,
 * but a text that they or the tokenizer change is not found. Blocks without a place, or out of order, are left out.
 */
export function marksOf(
  prompt: Prompt,
  blocks: readonly BlockEnd[],
  { promptIds, tokenBytes }: Tokenized,
): PrefixMark[] {
  const marks: PrefixMark[] = [];
  if (blocks.length === 0) return marks;
  const mark = (hash: string, tokens: number) => {
    const before = marks.at(-1)?.tokens ?? LEAST_TOKENS - 1;
    if (tokens > before && tokens <= promptIds.length) marks.push({ hash, tokens });
  };
  if (prompt.type === 'tokens') {
    for (const { hash, end } of blocks) mark(hash, end);
    return marks;
  }
  const texts = prompt.type === 'text' ? [prompt.text] : prompt.messages.map(({ content }) => content);
  const rendered = new RenderedPrompt(promptIds, tokenBytes);
  const lastMessage = blocks.at(-1)?.message ?? -1;
  let next = 0;
  for (const [message, text] of texts.entries()) {
    if (message > lastMessage) break;
    const place = rendered.find(text);
    for (; blocks[next]?.message === message; next++) {
      const { hash, end } = blocks[next] ?? { hash: '', end: 0 };
      if (place !== null && end <= text.length) mark(hash, rendered.tokensUpTo(place, text.slice(0, end)));
    }
  }
  return marks;
}

/** Whole tokens of the prompt up to `units` UTF-16 units of its first text; 0 where that is not found, or is little. */
export function tokensUpTo(prompt: Prompt, units: number, tokenized: Tokenized): number {
  return marksOf(prompt, [{ hash: '', message: 0, end: units }], tokenized)[0]?.tokens ?? 0;
}

/** The bytes that a prompt's tokens stand for, read from front to back; control tokens have none. */
class RenderedPrompt {
  readonly #bytes: Buffer;
  /** [tokens]: bytes up to and with each token. */
  readonly #ends: Uint32Array;
  #from = 0;

  constructor(ids: Int32Array, tokenBytes: TokenBytes) {
    this.#ends = new Uint32Array(ids.length);
    let end = 0;
    for (let i = 0; i < ids.length; i++) this.#ends[i] = end += tokenBytes.of(ids[i] ?? 0).length;
    this.#bytes = Buffer.allocUnsafe(end);
    for (let i = 0; i < ids.length; i++) this.#bytes.set(tokenBytes.of(ids[i] ?? 0), this.#ends[i - 1] ?? 0);
  }

  /** First byte of a text after all that were found before it, as it is or as templates trim it; null: not there. */
  find(text: string): number | null {
    const trimmed = text.trim();
    for (const form of trimmed === text ? [text] : [text, trimmed]) {
      const at = this.#bytes.indexOf(form, this.#from);
      if (at < 0) continue;
      this.#from = at + Buffer.byteLength(form);
      return form === text ? at : at - Buffer.byteLength(text.slice(0, text.indexOf(trimmed)));
    }
    return null;
  }

  /** Whole tokens up to the end of `text`, which begins at byte `place`. */
  tokensUpTo(place: number, text: string): number {
    const end = Math.min(place + Buffer.byteLength(text), this.#from);
    let [low, high] = [0, this.#ends.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#ends[middle] ?? 0) < end) low = middle + 1;
      else high = middle;
    }
    return this.#ends[low] === end ? low + 1 : low;
  }
}
