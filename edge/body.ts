/** Request body → JSON value, bounded before it is parsed. Knows no API. */
import { MillraceError } from '../shared/errors.ts';

const MAX_DEPTH = 32;
/** So much beyond the limit is read and thrown away: a connection closed on unread bytes loses the answer. */
const MAX_DRAINED_BYTES = 16 * 1024 * 1024;

/** Throws `request_too_large`, `unsupported_media_type` or `invalid_json`. */
export async function readJson(request: Request, maxBytes: number): Promise<unknown> {
  const encoding = request.headers.get('content-encoding');
  if (encoding !== null && encoding !== 'identity') {
    throw new MillraceError('unsupported_media_type', 'Send the body without Content-Encoding.');
  }
  const bytes = await readBytes(request, maxBytes);
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    if (depthOf(text) > MAX_DEPTH) throw new Error('too deep');
    return JSON.parse(text);
  } catch (cause) {
    const message = `The request body must be JSON in UTF-8, at most ${MAX_DEPTH} levels deep.`;
    throw new MillraceError('invalid_json', message, { cause });
  }
}

async function readBytes(request: Request, maxBytes: number): Promise<Uint8Array> {
  const tooLarge = () => new MillraceError('request_too_large', `The request body is larger than ${maxBytes} bytes.`);
  if (Number(request.headers.get('content-length') ?? 0) > maxBytes + MAX_DRAINED_BYTES) throw tooLarge();
  if (request.body === null) return new Uint8Array();
  const chunks: Uint8Array[] = [];
  let total = 0;
  try {
    for await (const chunk of request.body as ReadableStream<Uint8Array>) {
      total += chunk.length;
      if (total > maxBytes + MAX_DRAINED_BYTES) break;
      if (total <= maxBytes) chunks.push(chunk);
    }
  } catch (cause) {
    throw new MillraceError('invalid_json', 'The request body breaks off, or its encoding in chunks is wrong.', {
      cause,
    });
  }
  if (total > maxBytes) throw tooLarge();
  const bytes = new Uint8Array(total);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}

/** Deepest nesting of brackets outside strings, without building the value. */
function depthOf(text: string): number {
  let depth = 0;
  let deepest = 0;
  let inString = false;
  for (let i = 0; i < text.length; i++) {
    const char = text[i];
    if (inString) {
      if (char === '\\') i++;
      else if (char === '"') inString = false;
    } else if (char === '"') inString = true;
    else if (char === '{' || char === '[') deepest = Math.max(deepest, ++depth);
    else if (char === '}' || char === ']') depth--;
  }
  return deepest;
}
