/** Text → token ids of a model folder's tokenizer.json. Knows which strings are control tokens, nothing of chats. */
import { Tokenizer as HubTokenizer } from '@huggingface/tokenizers';
import { ModelFolderError } from '../model/folder.ts';
import { readTokenizerFile, type TokenizerFile } from './tokenizer-file.ts';

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
    // An empty one would be found between any two characters.
    const special = file.added_tokens.filter(({ special: is, content }) => is === true && content !== '');
    this.controlTokens = special.map(({ content }) => content).toSorted((a, b) => b.length - a.length);
    // Byte-level vocabularies write a byte as a character, SentencePiece's at most three bytes.
    const bytesOf = file.decoder?.type === 'ByteLevel' ? (token: string) => token.length : Buffer.byteLength;
    let longest = 4;
    for (const token of Object.keys(file.model.vocab)) longest = Math.max(longest, bytesOf(token));
    for (const { content } of file.added_tokens) longest = Math.max(longest, Buffer.byteLength(content));
    this.longestTokenBytes = longest;
    this.#whole = openTokenizer(file);
    const rest = file.added_tokens.filter((token) => token.special !== true);
    this.#plain = openTokenizer({ ...file, added_tokens: rest, post_processor: null });
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

function openTokenizer(file: TokenizerFile): HubTokenizer {
  try {
    return new HubTokenizer(file, { clean_up_tokenization_spaces: false });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new ModelFolderError(
      `tokenizer.json is not a whole tokenizer (${reason}): transformers writes one, by AutoTokenizer's save_pretrained`,
      { cause },
    );
  }
}
