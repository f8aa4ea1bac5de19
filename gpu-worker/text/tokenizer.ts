/** Text → token ids of a model folder's tokenizer.json. Knows which strings are control tokens, nothing of chats. */
import { Tokenizer as HubTokenizer } from '@huggingface/tokenizers';
import { readTokenizerFile } from './tokenizer-file.ts';

export class Tokenizer {
  /** Strings that the model reads as control tokens, longest first. */
  readonly controlTokens: readonly string[];
  /** No token stands for more bytes of text. */
  readonly longestTokenBytes: number;
  readonly #whole: HubTokenizer;
  /** The same without control tokens: their text is only text. */
  readonly #plain: HubTokenizer;

  /** Throws when the folder has no tokenizer.json or it is not one. */
  constructor(folder: string) {
    const file = readTokenizerFile(folder);
    const config = { clean_up_tokenization_spaces: false };
    const special = file.added_tokens.filter((token) => token.special === true);
    this.controlTokens = special.map(({ content }) => content).toSorted((a, b) => b.length - a.length);
    // Byte-level vocabularies write a byte as a character, SentencePiece's at most three bytes.
    const bytesOf = file.decoder?.type === 'ByteLevel' ? (token: string) => token.length : Buffer.byteLength;
    let longest = 4;
    for (const token of Object.keys(file.model.vocab)) longest = Math.max(longest, bytesOf(token));
    for (const { content } of file.added_tokens) longest = Math.max(longest, Buffer.byteLength(content));
    this.longestTokenBytes = longest;
    this.#whole = new HubTokenizer(file, config);
    const rest = file.added_tokens.filter((token) => token.special !== true);
    this.#plain = new HubTokenizer({ ...file, added_tokens: rest, post_processor: null }, config);
  }

  /** Control tokens in `text` become their ids. `begin`: with what the model puts before a text (BOS). */
  encode(text: string, { begin }: { readonly begin: boolean }): number[] {
    return text === '' ? [] : this.#whole.encode(text, { add_special_tokens: begin }).ids;
  }

  /** Nothing in `text` becomes a control token. */
  encodePlain(text: string): number[] {
    return text === '' ? [] : this.#plain.encode(text, { add_special_tokens: false }).ids;
  }
  /** As the vocabulary writes it. */
  tokenOf(id: number): string | undefined {
    return this.#whole.id_to_token(id);
  }
}
