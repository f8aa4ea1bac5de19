/** A text's UTF-16 code units in an array: strings are slow to read one by one. Knows no characters. */

const encoder = new TextEncoder();
/** Shorter texts are sooner read than encoded. */
const MIN_ENCODED_CHARS = 48;
const MIN_CHARS = 1 << 13;
const BYTES_PER_CHAR = 3;
/** What an encoder writes for half a pair. */
const REPLACEMENT = 0xfffd;

/** A line, and where in `codes` it begins; after it stands a character that belongs to no word of it. */
export interface CodedLine {
  readonly line: string;
  readonly codes: Uint16Array;
  readonly base: number;
}

/** Memory that each text uses again. */
export class CodeBuffer {
  #codes = new Uint16Array(MIN_CHARS);
  #bytes = new Uint8Array(BYTES_PER_CHAR * MIN_CHARS);

  /** All of `text` and a zero; valid until the next load. */
  load(text: string): Uint16Array {
    const { length } = text;
    if (length >= this.#codes.length) {
      this.#codes = new Uint16Array(2 * length);
      this.#bytes = new Uint8Array(2 * BYTES_PER_CHAR * length);
    }
    const codes = this.#codes;
    if (length < MIN_ENCODED_CHARS || !this.#encode(text, codes)) {
      for (let i = 0; i < length; i++) codes[i] = text.charCodeAt(i);
    }
    codes[length] = 0;
    return codes;
  }

  /** false: some of `text` is in no encoding. */
  #encode(text: string, codes: Uint16Array): boolean {
    const { written } = encoder.encodeInto(text, this.#bytes);
    if (written === text.length) {
      codes.set(this.#bytes.subarray(0, written));
      return true;
    }
    return decode(this.#bytes, written, codes);
  }
}

/** UTF-8 as an encoder wrote it. false: it holds what may stand for half a pair. */
function decode(bytes: Uint8Array, length: number, codes: Uint16Array): boolean {
  let to = 0;
  for (let at = 0; at < length;) {
    const byte = bytes[at] ?? 0;
    if (byte < 0x80) {
      codes[to++] = byte;
      at++;
    } else if (byte < 0xe0) {
      codes[to++] = ((byte & 0x1f) << 6) | next(bytes, at + 1);
      at += 2;
    } else if (byte < 0xf0) {
      const code = ((byte & 0x0f) << 12) | (next(bytes, at + 1) << 6) | next(bytes, at + 2);
      if (code === REPLACEMENT) return false;
      codes[to++] = code;
      at += 3;
    } else {
      const point =
        ((byte & 0x07) << 18) | (next(bytes, at + 1) << 12) | (next(bytes, at + 2) << 6) | next(bytes, at + 3);
      codes[to++] = 0xd7c0 + (point >> 10);
      codes[to++] = 0xdc00 | (point & 0x3ff);
      at += 4;
    }
  }
  return true;
}

function next(bytes: Uint8Array, at: number): number {
  return (bytes[at] ?? 0) & 0x3f;
}

const scratch = new Uint8Array(1 << 15);

export function utf8Bytes(text: string): number {
  let bytes = 0;
  for (let rest = text; rest !== '';) {
    const { read, written } = encoder.encodeInto(rest, scratch);
    bytes += written;
    rest = rest.slice(read);
  }
  return bytes;
}
