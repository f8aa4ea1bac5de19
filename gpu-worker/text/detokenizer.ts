/** Token ids → text, one token at a time, never splitting a UTF-8 character. Knows byte-level and SentencePiece BPE; nothing of stops. */
import { ModelFolderError } from '../model/folder.ts';
import { readTokenizerFile, type TokenizerFile } from './tokenizer-file.ts';

/** Bytes of every token id. Special tokens are empty: they never show in text. */
export class TokenBytes {
  readonly #bytes: readonly Uint8Array[];

  constructor(bytes: readonly Uint8Array[]) {
    this.#bytes = bytes;
  }

  /** Reads `tokenizer.json` of a model folder. Throws when its decoder is neither byte-level nor SentencePiece's. */
  static fromFolder(folder: string): TokenBytes {
    const { model, added_tokens: added, decoder } = readTokenizerFile(folder);
    const spelling = spellingOf(decoder);
    const bytes: Uint8Array[] = [];
    for (const [token, id] of Object.entries(model.vocab)) bytes[id] = spelling(token);
    for (const { id, content, special } of added) {
      bytes[id] = special === true ? new Uint8Array() : new TextEncoder().encode(content);
    }
    return new TokenBytes(bytes);
  }

  /** An id outside the vocabulary (padded lm heads have such) has no bytes. */
  of(id: number): Uint8Array {
    return this.#bytes[id] ?? EMPTY;
  }
}

const EMPTY = new Uint8Array();

/** How the vocabulary writes bytes: token → its bytes. */
function spellingOf(decoder: TokenizerFile['decoder']): (token: string) => Uint8Array {
  if (decoder?.type === 'ByteLevel') {
    const byteOf = new Map(byteLevelAlphabet().map((char, byte) => [char, byte]));
    return (token) => Uint8Array.from(token, (char) => byteOf.get(char) ?? 0x3f);
  }
  if (decoder?.decoders?.some(({ type }) => type === 'ByteFallback')) return sentencePieceBytes;
  throw new ModelFolderError(
    `tokenizer.json: decoder ${decoder?.type ?? 'null'} is not supported; ByteLevel and sequences with ByteFallback are`,
  );
}

/** U+2581 is a space and <0x0A> a byte. The space that Llama 2 puts before a text stays: an output goes on from its prompt. */
function sentencePieceBytes(token: string): Uint8Array {
  const byte = /^<0x([0-9A-F]{2})>$/.exec(token)?.[1];
  if (byte !== undefined) return Uint8Array.of(Number.parseInt(byte, 16));
  return new TextEncoder().encode(token.replaceAll('\u2581', ' '));
}

/** [256]: GPT-2's printable stand-in for each byte. Printable bytes stand for themselves, others from U+0100 on. */
export function byteLevelAlphabet(): readonly string[] {
  const printable = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : next++));
}

/** One choice's text so far, as a stream of pieces. Invalid bytes become U+FFFD, as in every decoder. */
export class Detokenizer {
  readonly #table: TokenBytes;
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true });

  constructor(table: TokenBytes) {
    this.#table = table;
  }

  /** Text that became final with this token: '' while a character is incomplete. */
  push(id: number): string {
    return this.#decoder.decode(this.#table.of(id), { stream: true });
  }

  bytesOf(id: number): Uint8Array {
    return this.#table.of(id);
  }

  /** Text of an incomplete last character (U+FFFD), or ''. */
  flush(): string {
    return this.#decoder.decode();
  }
}
