/** Chats whose rendered prompts have exactly so many tokens, all different. Knows no engine and no HTTP. */
import { createHash } from 'node:crypto';
import { PromptEncoder } from '../../gpu-worker/text/prompt.ts';

export interface BenchPrompt {
  /** Of the chat's one message, by the user. */
  readonly content: string;
  /** What the worker makes of it. */
  readonly ids: Int32Array;
}

export const WORDS: readonly string[] = (
  'a as at by for from in into of on or the to with and are batch block cache call city count day draw each early ' +
  'edge engine every fast field first flow forest gate hand heat house idle join key lake large late layer leaf line ' +
  'long loop memory message mill model more morning new night number open order part path plan queue rain read river ' +
  'road row seed send short slot small snow step stone stream summer table time token tree wait water wheel wind word'
).split(' ');

/** Texts that are cut to length before there is no prompt. */
const TRIES = 8;

export class PromptMaker {
  readonly #encoder: PromptEncoder;
  readonly #promptTokens: number;

  /** `folder`: of the model, for its tokenizer and template. */
  constructor(folder: string, vocabSize: number, promptTokens: number) {
    this.#encoder = new PromptEncoder(folder, vocabSize);
    this.#promptTokens = promptTokens;
  }

  /** A pure function of `key`. Throws when the template alone has more tokens. */
  make(key: string): BenchPrompt {
    for (let words = 0; words < TRIES; words++) {
      const found = this.#cut(wordsOf(words === 0 ? key : `${key}, words ${words}`, this.#promptTokens));
      if (found !== null) return found;
    }
    const least = this.#encode('').length;
    throw new Error(`no prompt of ${this.#promptTokens} tokens was found: the chat template alone has ${least}`);
  }

  /** The beginning of `text` with as many tokens; null: none has exactly so many. */
  #cut(text: string): BenchPrompt | null {
    // More text never has far fewer tokens: find about where they are enough, then look at each character there.
    let [low, high] = [0, text.length];
    while (low < high) {
      const middle = Math.floor((low + high + 1) / 2);
      if (this.#encode(text.slice(0, middle)).length <= this.#promptTokens) low = middle;
      else high = middle - 1;
    }
    for (let end = Math.max(0, low - 16); end <= Math.min(text.length, low + 16); end++) {
      const content = text.slice(0, end);
      // The edge takes blanks at the end away.
      if (content.endsWith(' ')) continue;
      const ids = this.#encode(content);
      if (ids.length === this.#promptTokens) return { content, ids };
    }
    return null;
  }

  #encode(content: string): Int32Array {
    return this.#encoder.encode({ type: 'chat', messages: [{ role: 'user', content }] });
  }
}

/** At least `count` words: a word has a token or more. */
function wordsOf(key: string, count: number): string {
  const words: string[] = [];
  for (let block = 0; words.length < count; block++) {
    for (const byte of createHash('sha256').update(`${key} ${block}`).digest()) {
      words.push(WORDS[byte % WORDS.length] ?? '');
    }
  }
  return words.join(' ');
}
